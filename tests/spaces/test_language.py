"""Ties, switches, groups of layers and constraints: drawn, inverted, encoded, stored, frozen."""

from __future__ import annotations

from typing import Any

import pytest

from peftnas.spaces import (
    GROUPINGS,
    Architecture,
    BoundSpace,
    ByGroup,
    ByLayer,
    Choice,
    Grouped,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    SearchSpace,
    Shared,
    Subset,
    Switch,
    at_least,
    forbid,
    max_stored_bytes,
    max_train_memory_bytes,
)
from peftnas.spaces.enumerate import walks
from peftnas.spaces.groupings import cut, group_numbers, group_sizes
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy

SIZE = Shared("size", Integer(0, 2))
CUT = Shared("cut", Choice(*GROUPINGS))
WIDTHS = Shared("width", PerLayer(Choice(1, 2)))
WIDE = Shared("wide", Choice(False, True))

SPACES = {
    "tied sizes": SearchSpace(Maybe(Box(rank=SIZE)), Low(rank=SIZE)),
    "tied layers": SearchSpace(
        Box(rank=Integer(0, 1), layers=Shared("where", Subset.of_layers(min_size=0))),
        Low(rank=Choice(0, 3), layers=Shared("where", Subset.of_layers(min_size=0))),
    ),
    "switch": SearchSpace(
        Box(rank=Switch(WIDE, {False: 1, True: Integer(2, 4)})),
        Maybe(Low(rank=Switch(WIDE, {False: Choice(1, 2), True: PerLayer(Choice(0, 3))}))),
    ),
    "profiles": SearchSpace(
        Low(rank=Choice(ByGroup(1, 2, 3), 2, ByGroup(3, 1, grouping=Choice(*GROUPINGS)))),
    ),
    "groups cut in several ways": SearchSpace(
        Box(rank=PerGroup(2, Integer(0, 2), CUT)), Low(rank=ByGroup(1, 2, grouping=CUT))
    ),
    "grouped": SearchSpace(
        Grouped(
            Box(rank=Choice(1, ByGroup(1, 2, grouping=CUT))),
            Low(),
            n=2,
            grouping=CUT,
            tuned=Subset(0, 1),
        ),
        Maybe(Soft(length=2)),
    ),
    "grouped, empty sets": SearchSpace(
        Maybe(Grouped(Box(), Span(), n=3, min_size=0, tuned=Subset(0, 2, min_size=0)))
    ),
    "grouped, all drawn": SearchSpace(
        Grouped(Box(), Low(), n=3, tuned=Subset(0, 1, 2, min_size=2), draw_all=True)
    ),
    "grouped by layer": SearchSpace(
        Grouped(
            Box(rank=WIDTHS, site="attention"),
            Box(rank=WIDTHS, site="ffn"),
            Low(rank=2),
            n=None,
            tuned=Subset.of_layers(min_size=2),
            max_size=2,
        ),
    ),
    "grouped, empty in some layers": SearchSpace(
        Grouped(Box(rank=1), Low(rank=PerLayer(Integer(0, 1))), n=2, tuned=Subset(0, 1))
    ),
    "a width for each layer": SearchSpace(Box(rank=WIDTHS), Maybe(Low(rank=WIDTHS))),
    "few targets": SearchSpace(
        Low(rank=Choice(1, 2), targets=Subset("query", "key", "value", min_size=0, max_size=2)),
        Maybe(Box(layers=Subset.of_layers(max_size=2))),
    ),
    "constrained": SearchSpace(
        Maybe(Box(rank=Integer(0, 3), layers=Subset.of_layers())),
        Maybe(Low(rank=PerLayer(Integer(0, 2)))),
        constraints=(
            at_least(2, "layers"),
            "toy_low.rank <= toy_box.rank",
            forbid({"toy_box.rank": (2, 3)}, "toy_low"),
        ),
    ),
    "few bytes": SearchSpace(
        Maybe(Box(rank=Integer(1, 3))), Maybe(Bias()), constraints=[max_stored_bytes("0.5 kB")]
    ),
}


def _size(high: int) -> Shared[int]:
    return Shared("size", Integer(1, high))


def _points(bound: BoundSpace) -> list[Any]:
    return list(walks(bound.draw))


MOST = 1_500
"""Points of a space that are looked for, spread over its list; "grouped by layer" has far more."""


@pytest.fixture(params=SPACES)
def bound(request: Any) -> BoundSpace:
    return SPACES[request.param].bind(ToyAnatomy(4))


def test_every_point_is_found_again(bound: BoundSpace) -> None:
    seen = set()
    points = _points(bound)
    for point in points[:: max(1, len(points) // MOST)]:
        key = bound.train_key(point.architecture)
        if key in seen:
            continue
        seen.add(key)
        broken = bound.broken_constraint(point.architecture)
        assert bound.contains(point.architecture) == (broken is None)
        found = bound.find(bound.canonical(point.architecture))
        assert found is not None and bound.train_key(found.architecture) == key
    assert len(seen) >= 5


def test_raw_values_and_vectors_give_the_point_back(bound: BoundSpace) -> None:
    paths = {dimension.path for dimension in bound.dimensions()}
    for point in _points(bound)[::7]:
        assert set(point.values) <= paths
        assert bound.replay(point.values) == point
        assert bound.decode(bound.encode(point)) == point


def test_the_stored_form_is_exact(bound: BoundSpace) -> None:
    again = SearchSpace.from_dict(bound.space.to_dict())
    assert again == bound.space and repr(again) == repr(bound.space)
    assert again.to_dict() == bound.space.to_dict()
    assert bound.tree().startswith("search space\n")


def test_samples_meet_the_constraints(bound: BoundSpace) -> None:
    for seed in range(30):
        assert bound.contains(bound.sample(seed))


def test_dimensions_are_those_of_the_walks(bound: BoundSpace) -> None:
    asked = {path for point in _points(bound) for path in point.values}
    assert asked == {dimension.path for dimension in bound.dimensions()}


def test_a_shared_draw_is_one_dimension() -> None:
    bound = SPACES["tied sizes"].bind(ToyAnatomy())
    assert [d.path for d in bound.dimensions()] == ["toy_box", "size"]
    for point in _points(bound):
        ranks = {method.rank for method in point.architecture.methods}  # type: ignore[attr-defined]
        assert ranks == {point.values["size"]}


def test_a_switch_follows_its_choice() -> None:
    bound = SPACES["switch"].bind(ToyAnatomy())
    for point in _points(bound):
        rank = point.architecture.methods[0].rank  # type: ignore[attr-defined]
        assert (rank > 1) == point.values["wide"]
    assert "toy_box.rank.True" in {d.path for d in bound.dimensions()}


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize(("n", "n_layers"), [(1, 5), (2, 5), (3, 3), (4, 12), (4, 24), (5, 13)])
def test_groups_part_the_layers(grouping: str, n: int, n_layers: int) -> None:
    groups = cut(n, (n_layers,), grouping)
    assert len(groups) == n and sum(groups, ()) == tuple(range(n_layers))
    numbers = group_numbers(n, (n_layers,), grouping)
    assert all(numbers[i] == g for g, some in enumerate(groups) for i in some)
    assert min(map(len, groups)) >= 1


def test_groupings_have_their_shapes() -> None:
    shapes = {grouping: group_sizes(4, 24, grouping) for grouping in GROUPINGS}
    assert shapes == {
        "uniform": (6, 6, 6, 6),
        "increasing": (2, 5, 7, 10),
        "decreasing": (10, 7, 5, 2),
        "spindle": (4, 8, 8, 4),
        "bottleneck": (8, 4, 4, 8),
    }


def test_grouped_puts_methods_into_their_groups() -> None:
    space = SearchSpace(Grouped(Box(), Low(), n=2, grouping="decreasing", tuned=Subset(0, 1)))
    bound = space.bind(ToyAnatomy(3))
    values = {
        "groups.tuned.0": True,
        "groups.tuned.1": True,
        "groups[0].toy_box": True,
        "groups[0].toy_low": False,
        "groups[1].toy_box": True,
        "groups[1].toy_low": True,
    }
    assert bound.replay(values).architecture == Architecture(
        Box(layers=(0, 1, 2)), Low(layers=(2,))
    )
    values["groups.tuned.1"] = False
    del values["groups[1].toy_box"], values["groups[1].toy_low"]
    assert bound.replay(values).architecture == Architecture(Box(layers=(0, 1)))


def test_relations_compare_layer_by_layer() -> None:
    space = SearchSpace(
        Box(rank=Integer(0, 3)),
        Low(rank=PerLayer(Integer(0, 3))),
        constraints="toy_low.rank < toy_box.rank",
    )
    bound = space.bind(ToyAnatomy(2))
    low = Low(rank=ByLayer({0: 1, 1: 2}))
    assert bound.contains(Architecture(Box(rank=3), low))
    assert "toy_low.rank < toy_box.rank must hold, got 2 and 2" in str(
        bound.why_not(Architecture(Box(rank=2), low))
    )
    assert bound.contains(Architecture(low))  # without the other nothing is compared


def test_memory_is_predicted_by_whoever_binds() -> None:
    space = SearchSpace(Box(rank=Integer(1, 9)), constraints=[max_train_memory_bytes("1kB")])
    bound = space.bind(ToyAnatomy(), train_memory_bytes=lambda a: 250 * a.methods[0].rank)  # type: ignore[attr-defined]
    assert bound.contains(Architecture(Box(rank=4)))
    assert bound.why_not(Architecture(Box(rank=5))) == (
        "predicted training memory must be <= 1kB, got 1.25 kB; a smaller batch or shorter texts "
        "need less"
    )
    with pytest.raises(ValueError, match=r"bind\(\.\.\., train_memory_bytes=\.\.\.\)"):
        space.bind(ToyAnatomy()).sample(0)


def test_freezing_holds_dimensions() -> None:
    space = SearchSpace(
        Maybe(Box(rank=SIZE, site=Choice("attention", "ffn"))),
        Maybe(Choice(Low(rank=SIZE), Soft())),
        Maybe(Span(length=Switch(WIDE, {False: 1, True: Integer(2, 3)}))),
        gate=Choice(None, "unipelt"),
    )
    held = space.freeze(
        {"toy_box": True, "toy_box.site": "ffn", "method": "toy_low", "size": 2, "gate": None}
    )
    assert held == SearchSpace(Box(rank=2, site="ffn"), Low(rank=2), space.items[2])
    assert space.freeze({"toy_span": False, "wide": True}).items == space.items[:2]
    assert space.freeze({"wide": True}).items[2] == Maybe(Span(length=Integer(2, 3)))
    assert space.freeze({"method": "none"}).items == (space.items[0], space.items[2])
    held = space.freeze({"size": 1, "method.toy_low.rank": 1})
    assert held.items[1] == Choice(None, Low(rank=1), Soft())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shared("Size", Integer(1, 2)), "lower-case letters"),
        (lambda: Shared("size", 3), "a fixed value needs no Shared"),
        (lambda: Shared("size", Choice(1, PerLayer(Integer(1, 2)))), "use Switch"),
        (lambda: Subset("a", "b", max_size=3), "max_size <= 2"),
        (lambda: Subset("a", "b", min_size=2, max_size=1), "max_size >= 2"),
        (lambda: Grouped(Box(), n=None, tuned=Subset("a")), r"write Subset.of_layers\(\)"),
        (lambda: Grouped(Box(), n=2, draw_all=1), "draw_all=True or False"),
        (lambda: Grouped(Box(), Low(), n=2, max_size=3), "max_size <= 2"),
        (lambda: Switch(Choice(1, 2), {1: 1, 2: 2}), "needs a Shared Choice"),
        (lambda: Switch(WIDE, {True: 1}), "no case for False; add it"),
        (lambda: Switch(WIDE, {True: 1, False: 2, 3: 3}), "a case for 3; drop it"),
        (lambda: ByGroup(), "needs at least one value"),
        (lambda: ByGroup(1, Integer(1, 2)), "use PerGroup to draw"),
        (lambda: PerGroup(2, Integer(1, 2), "spindel"), "did you mean 'spindle'"),
        (lambda: Grouped(Soft(), n=2), "act in layers"),
        (lambda: Grouped(Box(layers=(0,)), n=2), "chooses the layers"),
        (lambda: Grouped(Box(), n=0), "n >= 1 groups"),
        (lambda: Grouped(Box(), n=2, tuned=Subset(0, 2)), r"groups 0\.\.1"),
        (lambda: Grouped(Box(), n=2, min_size=2), "0 <= min_size <= 1"),
        (lambda: SearchSpace(Grouped(Box(), n=9)).bind(ToyAnatomy(3)), "at most 3 groups"),
        (lambda: SearchSpace(Box(rank=ByGroup(1, 2, 3, 4))).bind(ToyAnatomy(3)), "at most 3"),
        (lambda: SearchSpace(Box(site=ByGroup("ffn", "attention"))), "one value for the whole"),
        (
            lambda: SearchSpace(Box(rank=SIZE), Low(rank=Shared("size", Integer(1, 9)))),
            "one domain",
        ),
        (lambda: SearchSpace(Box(rank=Shared("toy_box", Integer(1, 9)))), "names another"),
        (lambda: SearchSpace(Box(rank=Shared("size", Integer(-1, 9)))), "whole number >= 0"),
        (lambda: at_least(0, "layers"), "whole number >= 1"),
        (lambda: at_least(2, "sites"), '"layers" or "methods"'),
        (lambda: max_stored_bytes("1 XB"), "text with a unit of B, kB"),
        (lambda: forbid(), "at least one condition"),
        (lambda: SearchSpace(Box(), constraints="toy_box.rank"), "FIELD SIGN"),
        (lambda: SearchSpace(Box(), constraints="toy_bocks.rank < 3"), "did you mean 'toy_box'"),
        (lambda: SearchSpace(Box(), constraints="toy_box.rnk < 3"), "did you mean 'rank'"),
        (lambda: SearchSpace(Box(), constraints=[forbid("toy_low")]), "methods of the space"),
        (lambda: SearchSpace(Box(), constraints=[3]), "take one of"),
    ],
)
def test_wrong_definitions_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
