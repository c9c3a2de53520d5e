"""Freezing: what is left lies inside of the space, and names are those of its dimensions."""

from __future__ import annotations

from typing import Any

import pytest

from peftnas.spaces import (
    Architecture,
    ByGroup,
    Choice,
    Grouped,
    Integer,
    Maybe,
    PerLayer,
    SearchSpace,
    Shared,
    Subset,
    Switch,
    at_least,
    forbid,
)
from peftnas.spaces.enumerate import walks
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy

SIZE = Shared("size", Integer(1, 3))
WIDE = Shared("wide", Choice(False, True))
BY_WIDTH = Switch(WIDE, {False: 1, True: Choice(2, 3)})
TUNED = Shared("tuned", Subset(0, 1, min_size=0))
GROUPED = Grouped(Box(rank=Integer(1, 2)), Low(), n=2, tuned=Subset(0, 1, min_size=0))
TOY = ToyAnatomy(4)

HELD: dict[str, tuple[SearchSpace, dict[str, Any]]] = {
    "a field": (SearchSpace(Box(rank=Integer(1, 3)), Low(rank=SIZE)), {"toy_box.rank": 2}),
    "a draw by layer": (SearchSpace(Box(rank=PerLayer(Choice(1, 2, 3)))), {"toy_box.rank": 2}),
    "a draw by layer in a choice": (
        SearchSpace(Box(rank=Choice(PerLayer(Integer(1, 2)), 3))),
        {"toy_box.rank": 2},
    ),
    "a whole profile": (
        SearchSpace(Box(rank=Choice(ByGroup(1, 2), 3))),
        {"toy_box.rank": ByGroup(1, 2)},
    ),
    "a list": (SearchSpace(Low(targets=Subset("query", "key"))), {"toy_low.targets": ["query"]}),
    "no layer": (
        SearchSpace(Box(layers=Subset.of_layers(min_size=0)), Maybe(Low())),
        {"toy_box.layers": ()},
    ),
    "an option beside a shared draw": (
        SearchSpace(Box(rank=Choice(8, SIZE)), Low(rank=SIZE)),
        {"toy_box.rank": 8},
    ),
    "a shared draw": (SearchSpace(Box(rank=SIZE), Low(rank=SIZE)), {"size": 2}),
    "a shared draw that is an option already": (
        SearchSpace(Box(rank=Choice(3, SIZE)), Low(rank=SIZE)),
        {"size": 3},
    ),
    "a shared draw by layer": (
        SearchSpace(Box(rank=Shared("rank", PerLayer(Integer(1, 2))))),
        {"rank": 2},
    ),
    "shared groups": (SearchSpace(Grouped(Box(), Low(), n=2, tuned=TUNED)), {"tuned": (1,)}),
    "shared groups, none": (
        SearchSpace(Grouped(Box(), Low(), n=2, tuned=TUNED), Soft()),
        {"tuned": ()},
    ),
    "what a switch depends on": (
        SearchSpace(Box(rank=BY_WIDTH), Low(rank=BY_WIDTH)),
        {"wide": True, "toy_box.rank": 3},
    ),
    "an option and a field of it": (
        SearchSpace(Choice(Box(rank=Integer(1, 8)), Soft())),
        {"method": "toy_box", "method.toy_box.rank": 4},
    ),
    "a field and then its option": (
        SearchSpace(Choice(Box(rank=Integer(1, 8)), Soft())),
        {"method.toy_box.rank": 4, "method": "toy_box"},
    ),
    "options that become one": (
        SearchSpace(Choice(Box(rank=Integer(1, 8)), Box(rank=4), Soft())),
        {"method.toy_box.rank": 4},
    ),
    "an option that may be absent": (
        SearchSpace(Choice(Maybe(Box()), Maybe(Low()), Soft())),
        {"method.toy_box": False},
    ),
    "an option that is present": (
        SearchSpace(Choice(Maybe(Box()), Soft())),
        {"method.toy_box": True},
    ),
    "a field of a choice that may be absent": (
        SearchSpace(Maybe(Choice(Box(rank=Integer(1, 3)), Soft()))),
        {"method.toy_box.rank": 2},
    ),
    "a field of a method that may be absent": (
        SearchSpace(Maybe(Box(rank=Integer(1, 3)))),
        {"toy_box.rank": 2},
    ),
    "groups, of which none": (SearchSpace(GROUPED, Maybe(Soft())), {"groups.tuned": ()}),
    "groups": (SearchSpace(GROUPED), {"groups.tuned": [1], "groups.toy_box.rank": 2}),
    "groups that may be absent": (
        SearchSpace(Maybe(GROUPED.changed(tuned=None))),
        {"groups": "groups"},
    ),
    "groups that are absent": (SearchSpace(Maybe(GROUPED), Soft()), {"groups": "none"}),
    "a part of groups that may be absent": (
        SearchSpace(Maybe(GROUPED)),
        {"groups.groups.tuned": (0,), "groups.groups.toy_box.rank": 1},
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_left_is_inside(name: str) -> None:
    space, values = HELD[name]
    left, whole = space.freeze(values).bind(TOY), space.bind(TOY)
    drawn = {whole.canonical(point.architecture) for point in walks(left.draw)}
    assert drawn and all(whole.contains(architecture) for architecture in drawn)
    assert len(drawn) < len({whole.canonical(p.architecture) for p in walks(whole.draw)})
    assert SearchSpace.from_dict(left.space.to_dict()) == left.space


def test_all_that_has_the_value_is_left() -> None:
    space = SearchSpace(Box(rank=Choice(3, SIZE)), Low(rank=SIZE))
    left = space.freeze({"size": 3})
    assert left == SearchSpace(Box(rank=Choice(3)), Low(rank=3))
    assert SearchSpace(GROUPED).freeze({"groups.tuned": (0,)}) == SearchSpace(
        GROUPED.changed(tuned=Subset(0))
    )


@pytest.mark.parametrize(
    ("constraint", "kept"),
    [
        ("toy_box.rank <= toy_low.rank", False),
        ("toy_low.rank != 3", False),
        (forbid("toy_box", "toy_low"), False),
        (forbid("toy_box", {"toy_low.rank": 3}), False),
        ("toy_box.rank != 3", True),
        (at_least(1, "layers"), True),
    ],
)
def test_constraints_go_with_what_they_name(constraint: Any, kept: bool) -> None:
    space = SearchSpace(
        Box(rank=Integer(1, 8)), Maybe(Low(rank=Integer(1, 8))), constraints=constraint
    )
    left = space.freeze({"toy_low": False})
    assert left.items == (Box(rank=Integer(1, 8)),)
    assert left.constraints == (space.constraints if kept else ())


def test_the_gate_goes_with_the_last_gated_method() -> None:
    space = SearchSpace(Maybe(Box()), Maybe(Bias()), gate=Choice(None, "unipelt"))
    assert space.freeze({"toy_box": False}) == SearchSpace(Maybe(Bias()))
    assert space.freeze({"toy_bias": False}).gate == space.gate
    assert space.freeze({"gate": "unipelt", "toy_box": True}).gate == "unipelt"


def test_dimensions_of_groups_that_may_be_absent_can_be_held() -> None:
    cut = GROUPED.changed(grouping=Choice("uniform", "spindle"))
    space = SearchSpace(Maybe(cut))
    paths = {one.path for one in space.bind(TOY).dimensions()}
    assert {"groups", "groups.groups.grouping"} <= paths
    held = space.freeze({"groups.groups.grouping": "spindle"})
    assert held == SearchSpace(Maybe(cut.changed(grouping="spindle")))


LAYERED = SearchSpace(
    Box(layers=Subset.of_layers(min_size=1, max_size=2)), Maybe(Low(rank=Choice(1, 2))), Soft()
)
TIED = SearchSpace(Box(rank=SIZE), Low(rank=BY_WIDTH), Span(length=Choice(8, SIZE)))


@pytest.mark.parametrize(
    ("space", "values", "message"),
    [
        (
            SearchSpace(Maybe(Box())),
            {"toy_box.rang": 2},
            r"needs a field or a choice .*got 'toy_box.rang'; did you mean",
        ),
        (
            SearchSpace(Box(rank=Integer(1, 3))),
            {"toy_box.rank": 9},
            r"toy_box.rank must be held at a value of Integer\(.*got 9",
        ),
        (
            SearchSpace(Maybe(Box())),
            {"toy_box": 1},
            r"toy_box is present or not, got 1; write True or False",
        ),
        (SearchSpace(Box()), {"gate": "x"}, "freeze needs a field or a choice"),
        (TIED, {"toy_box.rank": 3}, "follows the shared draw 'size', got 3 .*'size' instead"),
        (TIED, {"toy_span.length": 3}, "follows the shared draw 'size', got 3 .*'size' instead"),
        (TIED, {"toy_low.rank": 2}, "follows the shared draw 'wide', got 2 .*'wide' too"),
        (TIED, {"toy_box.rank": 9}, r"toy_box.rank must be held at a value of Shared.*got 9;"),
        (TIED, {"size": 9}, r"size must be held at a value of Integer\(.*, got 9;"),
        (TIED, {"wide": 1}, r"wide must be held at a value of Choice\(False, True\), got 1;"),
        (LAYERED, {"toy_box.layers": ()}, r"of Subset.of_layers\(.*\), got \(\)"),
        (LAYERED, {"toy_box.layers": (0, 1, 2)}, r"got \(0, 1, 2\)"),
        (LAYERED, {"toy_box.layers": (1, 0)}, r"got \(1, 0\)"),
        (LAYERED, {"toy_box.layers": (0, 0)}, r"got \(0, 0\)"),
        (LAYERED, {"toy_box.layers": ("a",)}, r"got \('a',\)"),
        (LAYERED, {"toy_soft.length": True}, "toy_soft.length must be held .* 5, got True"),
        (
            LAYERED,
            {"toy_low": False, "toy_low.rank": 2},
            "what is left of the space, got 'toy_low.rank' beside toy_low=False, .*; drop one",
        ),
        (
            SearchSpace(Choice(Box(), Soft())),
            {"method": "toy_soft", "method.toy_box.rank": 4},
            "got 'method.toy_box.rank' beside method='toy_soft', .*; drop one",
        ),
        (SearchSpace(Choice(Box(), Soft())), {"method": ["toy_box"]}, r"got \('toy_box',\)"),
        (SearchSpace(Choice(Box(), Soft())), {"method": {}}, "one of toy_box, toy_soft, got {}"),
        (LAYERED, ["toy_low"], r"takes names with their values .*got \['toy_low'\]; write such"),
        (LAYERED, {5: 1}, "needs a field or a choice of the space, got 5;"),
        (
            SearchSpace(Maybe(Box())),
            {"toy_box": False},
            r"must leave a method in the space, got {'toy_box': False}, .*; keep one",
        ),
        (SearchSpace(Maybe(GROUPED)), {"groups": False}, "one of none, groups, got False"),
        (
            SearchSpace(Maybe(GROUPED)),
            {"groups.tuned": (0,)},
            "did you mean 'groups.groups.tuned'",
        ),
    ],
)
def test_freezing_refuses(space: SearchSpace, values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        space.freeze(values)


def test_architectures_of_a_tied_space_stay_tied() -> None:
    space = SearchSpace(Box(rank=SIZE), Low(rank=SIZE))
    assert not space.bind(TOY).contains(Architecture(Box(rank=3), Low(rank=2)))
    left = space.freeze({"size": 3}).bind(TOY)
    assert left.contains(Architecture(Box(rank=3), Low(rank=3)))
