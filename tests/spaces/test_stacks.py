"""Groups of layers on a backbone of two stacks: none holds layers of both."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    SearchSpace,
    Shared,
    Subset,
    Switch,
)
from peftnas.spaces.enumerate import walks
from peftnas.spaces.groupings import cut, group_sizes
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing
from tests.spaces.toy import Box, Low, Soft, ToyAnatomy

EVEN = ToyAnatomy(4, decoder=2)
UNEVEN = ToyAnatomy(4, decoder=1)
CUT = Shared("cut", Choice("increasing", "decreasing"))
WIDE = Shared("wide", Choice(False, True))
TUNED = Shared("tuned", Subset(0, 1, min_size=0))

SPACES = {
    "per group": SearchSpace(Box(rank=PerGroup(2, Integer(0, 2))), Maybe(Soft(length=2))),
    "per group in some layers": SearchSpace(
        Box(rank=PerGroup(2, Choice(0, 1)), layers=Subset.of_layers())
    ),
    "cut in two ways": SearchSpace(Low(rank=PerGroup(2, Choice(1, 2), CUT))),
    "inside a choice": SearchSpace(
        Box(rank=Choice(3, PerGroup(2, Integer(1, 2)))),
        Low(rank=Switch(WIDE, {False: 1, True: PerGroup(1, Choice(1, 2))})),
    ),
    "grouped": SearchSpace(
        Grouped(Box(rank=Choice(1, 2)), Low(), n=2, grouping=CUT, tuned=Subset(0, 1))
    ),
    "grouped, all drawn": SearchSpace(
        Grouped(Box(), Low(), n=2, tuned=Subset(1, 0, min_size=0), draw_all=True)
    ),
    "grouped, one group": SearchSpace(Grouped(Box(rank=Integer(1, 3)), Low(), n=1, min_size=0)),
    "grouped with draws of a group": SearchSpace(
        Grouped(Box(rank=PerGroup(2, Choice(1, 3))), Low(), n=2)
    ),
}
PROFILES = {
    "profiles": SearchSpace(Low(rank=Choice(ByGroup(1, 2), 2, ByGroup(3, 1, grouping=CUT)))),
    "groups tuned together": SearchSpace(
        Grouped(Box(), n=2, tuned=TUNED), Grouped(Low(), n=2, tuned=TUNED)
    ),
}


def _brute_force(bound: BoundSpace) -> tuple[int, int]:
    """(distinct, raw) by trying every combination of all dimensions."""
    columns = [
        list(one.domain.options if isinstance(one.domain, Choice) else one.domain.values())  # type: ignore[union-attr]
        for one in bound.dimensions()
    ]
    paths = [one.path for one in bound.dimensions()]
    raw, keys = set(), set()
    for combination in itertools.product(*columns):
        answers = dict(zip(paths, combination, strict=True))
        point = bound.draw(lambda path, _, answers=answers: answers[path])
        raw.add(frozenset(point.values.items()))
        keys.add(bound.train_key(point.architecture))
    return len(keys), len(raw)


def _bound(name: str, anatomy: ToyAnatomy) -> BoundSpace:
    return (SPACES | PROFILES)[name].bind(anatomy)


ON_BACKBONES = [(name, EVEN) for name in SPACES | PROFILES] + [(name, UNEVEN) for name in SPACES]


@pytest.mark.parametrize(("name", "anatomy"), ON_BACKBONES)
def test_sizes_equal_brute_force(name: str, anatomy: ToyAnatomy) -> None:
    bound = _bound(name, anatomy)
    assert (bound.size(), bound.raw_size()) == _brute_force(bound)


@pytest.mark.parametrize(("name", "anatomy"), [(n, a) for n in SPACES for a in (EVEN, UNEVEN)])
def test_structure_counts_them_too(name: str, anatomy: ToyAnatomy) -> None:
    bound = _bound(name, anatomy)
    listed = Listing(bound, walks(bound.draw))
    for budget in (None, 0, 60, 150):
        assert Census(bound).distinct(budget) == listed.distinct(budget)
        assert Census(bound).raw(budget) == listed.raw(budget)


@pytest.mark.parametrize(("name", "anatomy"), ON_BACKBONES)
def test_every_point_is_found_and_encoded(name: str, anatomy: ToyAnatomy) -> None:
    bound = _bound(name, anatomy)
    asked = set()
    for point in walks(bound.draw):
        asked |= set(point.values)
        assert bound.replay(point.values) == point
        assert bound.decode(bound.encode(point)) == point
        found = bound.find(bound.canonical(point.architecture))
        assert found is not None
        assert bound.train_key(found.architecture) == bound.train_key(point.architecture)
    assert asked == {dimension.path for dimension in bound.dimensions()}


@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    st.sampled_from(GROUPINGS),
)
@settings(deadline=None)
def test_no_group_holds_layers_of_two_stacks(
    n: int, stacks: tuple[int, ...], grouping: str
) -> None:
    groups = cut(n, stacks, grouping)
    assert _joined(groups) == tuple(range(sum(stacks)))
    stack_of = [stack for stack, n_layers in enumerate(stacks) for _ in range(n_layers)]
    assert all(len({stack_of[layer] for layer in group}) == 1 for group in groups)
    for stack, n_layers in enumerate(stacks):
        sizes = tuple(len(group) for group in groups if stack_of[group[0]] == stack)
        assert sizes == group_sizes(min(n, n_layers), n_layers, grouping)


def _joined(groups: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(layer for group in groups for layer in group)


def test_each_stack_has_groups_of_its_own() -> None:
    bound = SearchSpace(Box(rank=PerGroup(2, Integer(1, 9)))).bind(ToyAnatomy(5, decoder=2))
    assert [dimension.path for dimension in bound.dimensions()] == [
        f"groups[{group}].toy_box.rank" for group in range(4)
    ]
    point = bound.replay({f"groups[{group}].toy_box.rank": 1 + group for group in range(4)})
    assert point.architecture == Architecture(Box(rank=ByLayer({0: 1, 1: 1, 2: 2, 3: 3, 4: 4})))


def test_a_profile_is_that_of_each_stack() -> None:
    bound = SearchSpace(Box(rank=ByGroup(1, 2, grouping="increasing"))).bind(
        ToyAnatomy(5, decoder=2)
    )
    assert bound.replay({}).architecture == Architecture(
        Box(rank=ByLayer({0: 1, 1: 2, 2: 2, 3: 1, 4: 2}))
    )


def test_a_tuned_number_stands_for_a_group_of_every_stack() -> None:
    space = SearchSpace(Grouped(Box(), Low(), n=2, tuned=Subset(1, min_size=0)))
    bound = space.bind(ToyAnatomy(5, decoder=2))
    assert [dimension.path for dimension in bound.dimensions()] == [
        "groups.tuned.1",
        "groups.tuned.3",
        "groups[1].toy_box",
        "groups[1].toy_low",
        "groups[3].toy_box",
        "groups[3].toy_low",
    ]
    values = {"groups.tuned.1": False, "groups.tuned.3": True}
    values |= {"groups[3].toy_box": True, "groups[3].toy_low": False}
    assert bound.replay(values).architecture == Architecture(Box(layers=(4,)))


def test_a_small_stack_has_fewer_groups() -> None:
    bound = SearchSpace(Box(rank=PerGroup(3, Integer(1, 9)))).bind(ToyAnatomy(5, decoder=1))
    point = bound.replay({f"groups[{group}].toy_box.rank": 1 + group for group in range(4)})
    assert point.architecture == Architecture(Box(rank=ByLayer({0: 1, 1: 1, 2: 2, 3: 3, 4: 4})))


def test_the_tree_says_that_stacks_are_cut_apart() -> None:
    said = "groups of layers: stacks of 2 and 2 layers are cut apart, each into so many"
    for name in SPACES | PROFILES:
        assert said in _bound(name, EVEN).tree()
        assert "cut apart" not in _bound(name, ToyAnatomy(4)).tree()
    assert "cut apart" not in SearchSpace(Box(rank=Integer(1, 2))).bind(EVEN).tree()


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Box(rank=PerGroup(4, Integer(1, 2))), r"at most 3 groups \(the layers of its largest"),
        (Grouped(Box(), n=4), r"at most 3 groups \(the layers of its largest .* got n=4; lower"),
        (
            Box(rank=ByGroup(1, 2)),
            r"at most 1 groups \(the layers of its smallest stack\), got ByGroup\(1, 2\); leave",
        ),
    ],
)
def test_more_groups_than_layers_are_refused(item: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace(item).bind(UNEVEN)


def test_shared_numbers_stand_for_the_same_groups() -> None:
    tuned = Shared("tuned", Subset(0, 1))
    space = SearchSpace(Grouped(Box(), n=2, tuned=tuned), Grouped(Low(), n=3, tuned=tuned))
    space.bind(ToyAnatomy(6))
    with pytest.raises(ValueError, match="the same groups .* give each Grouped the same n"):
        space.bind(ToyAnatomy(6, decoder=3))
