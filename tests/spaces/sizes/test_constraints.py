"""Sizes of spaces whose constraints look at what is still to be drawn: exact, or bounds."""

from __future__ import annotations

from typing import Any

import pytest

from peftnas.spaces import (
    BoundSpace,
    ByGroup,
    Choice,
    Grouped,
    Integer,
    PerLayer,
    Real,
    SearchSpace,
    Shared,
    Subset,
    Switch,
    at_least,
    forbid,
)
from peftnas.spaces.enumerate import walks
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing
from tests.spaces.toy import Bias, Box, Low, ToyAnatomy

LAYERS = Subset.of_layers()
WIDE = Shared("wide", Choice(False, True))

# the field that a constraint names, or whether it matters, differs from layer to layer
BY_LAYER = {
    "the layers": SearchSpace(
        Low(rank=Integer(1, 3), layers=LAYERS), constraints=["toy_low.layers != None"]
    ),
    "one layer": SearchSpace(
        Low(rank=Integer(1, 3), layers=LAYERS), constraints=[forbid({"toy_low.layers": ((0,),)})]
    ),
    "shared layers": SearchSpace(
        Low(rank=Integer(1, 3), layers=Shared("where", LAYERS)),
        constraints=["toy_low.layers != None"],
    ),
    "layers that sizes of 0 leave": SearchSpace(
        Low(rank=PerLayer(Integer(0, 2)), layers=Choice(None, (0, 1))),
        constraints=["toy_low.layers != None"],
    ),
    "layers of groups": SearchSpace(
        Grouped(Low(rank=Integer(1, 4)), Box(rank=Integer(1, 3)), n=3, min_size=0),
        constraints=[forbid({"toy_low.layers": (None,)})],
    ),
    "a shared draw for each layer": SearchSpace(
        Box(rank=Shared("size", PerLayer(Integer(0, 2)))), constraints=["toy_box.rank >= 1"]
    ),
    "beside empty sets": SearchSpace(
        Low(rank=Integer(1, 3), targets=PerLayer(Subset("query", "key", min_size=0))),
        constraints=["toy_low.rank <= 2"],
    ),
    "beside sizes of 0": SearchSpace(
        Box(rank=PerLayer(Choice(2, 0)), scale=Choice(1.0, 2.0)),
        constraints=["toy_box.scale == 1.0"],
    ),
    "beside groups of size 0": SearchSpace(
        Box(rank=ByGroup(0, 2), scale=Choice(1.0, 2.0), layers=LAYERS),
        constraints=["toy_box.scale == 1.0"],
    ),
    "two": SearchSpace(
        Box(rank=Integer(1, 4), layers=LAYERS),
        Low(rank=Integer(1, 4)),
        constraints=["toy_low.rank <= toy_box.rank", forbid({"toy_box.rank": (2, 3)}, "toy_low")],
    ),
}


def _agrees(bound: BoundSpace) -> bool:
    """Whether structure counts a space; then it says what listing says."""
    listed = Listing(bound, walks(bound.draw))
    try:
        census = Census(bound)
        found = census.distinct(None), census.raw(None)
    except Unstructured:
        return False
    assert found == (listed.distinct(None), listed.raw(None))
    assert census.parameters(False) in (None, listed.parameters(False))
    return True


@pytest.mark.parametrize("name", BY_LAYER)
def test_what_is_still_to_be_drawn_is_not_taken_for_all_layers(name: str) -> None:
    _agrees(BY_LAYER[name].bind(ToyAnatomy(3)))


def test_constraints_on_plain_fields_are_counted() -> None:
    assert _agrees(BY_LAYER["two"].bind(ToyAnatomy(3)))


@pytest.mark.parametrize(
    ("constraint", "true"),
    [("toy_low.layers != None", 7620), (forbid({"toy_low.layers": ((0,),)}), 7620)],
)
def test_large_spaces_with_constraints_on_layers_have_bounds(constraint: Any, true: int) -> None:
    space = SearchSpace(Low(rank=Integer(1, 30), layers=LAYERS), constraints=[constraint])
    for size in (space.bind(ToyAnatomy(8)).size(), space.bind(ToyAnatomy(8)).raw_size()):
        assert size.low <= true <= size.high


@pytest.mark.parametrize(
    "constraint", ["toy_box.scale >= 1.5", forbid({"toy_box.scale": 1.0}), "toy_box.scale == 1.0"]
)
def test_a_constraint_on_a_real_gives_bounds(constraint: Any) -> None:
    space = SearchSpace(
        Box(scale=Real(1.0, 2.0), rank=Integer(1, 4)), Bias(), constraints=[constraint]
    )
    size, raw = space.bind(ToyAnatomy(2)).size(), space.bind(ToyAnatomy(2)).raw_size()
    assert size.high == raw.high == 4 and size.reals == ("toy_box.scale",)
    assert size.low == raw.low == (0 if constraint == "toy_box.scale == 1.0" else 4)


def test_a_shared_draw_for_each_layer_is_counted() -> None:
    alone = SearchSpace(Low(rank=Shared("r", PerLayer(Integer(0, 3))))).bind(ToyAnatomy(6))
    assert alone.size() == alone.raw_size() == 4**6
    two = SearchSpace(
        Low(rank=Shared("r", PerLayer(Integer(0, 3)))),
        Box(rank=Shared("r", PerLayer(Integer(0, 3)))),
    )
    size = two.bind(ToyAnatomy(6)).size()
    assert size.low <= 4**6 <= size.high


def test_a_shared_draw_for_each_layer_ties_groups_to_methods_beside() -> None:
    rank = Shared("r", PerLayer(Integer(1, 2)))
    space = SearchSpace(Grouped(Box(rank=rank), n=2, min_size=0), Low(rank=rank))
    _agrees(space.bind(ToyAnatomy(3)))


def test_no_layers_beside_a_draw_by_layer() -> None:
    space = SearchSpace(
        Box(rank=PerLayer(Integer(1, 4)), layers=Choice((), (0, 1, 2, 3, 4, 5)))
    ).bind(ToyAnatomy(6))
    assert space.size() == space.raw_size() == 1 + 4**6


def test_a_switch_between_no_layers_and_some() -> None:
    rank = PerLayer(Integer(0, 2))
    layers = Switch(WIDE, {False: (), True: Subset.of_layers(min_size=0)})
    space = SearchSpace(Box(rank=rank, layers=layers), constraints=[at_least(1, "layers")])
    assert _agrees(space.bind(ToyAnatomy(3)))
