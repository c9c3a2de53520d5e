"""Neighbours, mutation, crossover: inside of the space, one change away, from the parents."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peftnas.spaces import (
    Architecture,
    BoundSpace,
    Choice,
    Integer,
    Maybe,
    PerLayer,
    Point,
    Real,
    SearchSpace,
    Shared,
    Subset,
    at_least,
)
from peftnas.spaces.enumerate import all_points
from peftnas.spaces.sizes.reals import real_fields
from tests.spaces.strategies import ANATOMIES, spaces
from tests.spaces.toy import Box, Low, Soft, Span, ToyAnatomy

SEEDS = st.integers(0, 2**32)
LISTED = 300
"""Spaces with at most so many points are gone through."""


def _drawn(bound: BoundSpace, seed: int) -> Point:
    point = bound.draw_valid(random.Random(seed), 100)
    assume(point is not None)
    assert point is not None
    return point


def _whole(bound: BoundSpace, point: Point) -> dict[str, Any]:
    """The values of a point with the items that its subsets take without a question."""
    values = dict(point.values)
    active = {one.subset for one in bound.dimensions() if one.path in values}
    for one in bound.dimensions():
        if one.subset is not None and one.subset in active:
            values.setdefault(one.path, True)
    return values


def _check_inside(bound: BoundSpace, found: Point) -> None:
    assert bound.replay(found.values) == found
    assert bound.broken_constraint(found.architecture) is None


@settings(deadline=None)
@given(spaces(), ANATOMIES, SEEDS)
def test_neighbours_are_one_change_away(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int
) -> None:
    bound = space.bind(anatomy)
    point = _drawn(bound, seed)
    near = bound.neighbours(point)
    keys = [bound.train_key(one.architecture) for one in near]
    assert len(set(keys)) == len(keys)
    assert bound.train_key(point.architecture) not in keys
    held = _typed(_whole(bound, point))
    for one in near:
        _check_inside(bound, one)
        values = _typed(_whole(bound, one))
        differ = [path for path in values if path in held and values[path] != held[path]]
        assert len(differ) == 1, differ


@settings(deadline=None)
@given(spaces(), ANATOMIES, SEEDS)
def test_no_neighbour_by_a_choice_is_missing(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int
) -> None:
    bound = space.bind(anatomy)
    points = all_points(bound, LISTED)
    assume(points is not None and not real_fields(bound))  # the list has each at its low end
    assert points is not None
    point = _drawn(bound, seed)
    held = _typed(_whole(bound, point))
    keys = {bound.train_key(one.architecture) for one in [point, *bound.neighbours(point)]}
    numbers = {d.path for d in bound.dimensions() if isinstance(d.domain, Integer)}
    for other in points:
        values = _typed(_whole(bound, other))
        if values.keys() != held.keys():
            continue
        differ = [path for path in held if values[path] != held[path]]
        if len(differ) != 1 or differ[0] in numbers:
            continue
        if bound.broken_constraint(other.architecture) is None:
            assert bound.train_key(other.architecture) in keys


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """Compared with their type, since 1 == True == 1.0."""
    return {path: (type(value), value) for path, value in values.items()}


@settings(deadline=None)
@given(spaces(), ANATOMIES, SEEDS, st.sampled_from((None, 0.1, 1)))
def test_a_mutant_is_another_of_the_space(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int, rate: float | None
) -> None:
    bound = space.bind(anatomy)
    point = _drawn(bound, seed)
    child = bound.mutate(point, seed, rate)
    _check_inside(bound, child)
    assert bound.mutate(point, seed, rate) == child
    if bound.train_key(child.architecture) == bound.train_key(point.architecture):
        for other in all_points(bound, LISTED) or []:
            if bound.broken_constraint(other.architecture) is None:
                assert bound.train_key(other.architecture) == bound.train_key(point.architecture)


@settings(deadline=None)
@given(spaces(), ANATOMIES, SEEDS, SEEDS)
def test_a_child_takes_after_its_parents(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int, other: int
) -> None:
    bound = space.bind(anatomy)
    a, b = _drawn(bound, seed), _drawn(bound, other)
    child = bound.crossover(a, b, seed)
    _check_inside(bound, child)
    assert bound.crossover(a, b, seed) == child
    assert bound.crossover(a, a, seed) == a
    one, two = _whole(bound, a), _whole(bound, b)
    for path, value in _whole(bound, child).items():
        held = [values[path] for values in (one, two) if path in values]
        assert not held or value in held


@settings(deadline=None)
@given(spaces(), ANATOMIES, SEEDS)
def test_architectures_come_for_architectures(
    space: SearchSpace, anatomy: ToyAnatomy, seed: int
) -> None:
    bound = space.bind(anatomy)
    a, b = (bound.canonical(_drawn(bound, one).architecture) for one in (seed, seed + 1))
    assume(bound.contains(a) and bound.contains(b))
    one, two = bound.point(a), bound.point(b)

    def canonical(point: Point) -> Architecture:
        return bound.canonical(point.architecture)

    assert bound.neighbours(a) == [canonical(point) for point in bound.neighbours(one)]
    assert bound.mutate(a, seed) == canonical(bound.mutate(one, seed))
    assert bound.crossover(a, b, seed) == canonical(bound.crossover(one, two, seed))
    assert bound.crossover(a, a, seed) == a
    for child in [*bound.neighbours(a), bound.mutate(a, seed)]:
        assert bound.canonical(child) == child


def _ranks(bound: BoundSpace, values: dict[str, Any], path: str) -> list[Any]:
    near = bound.neighbours(bound.replay(values))
    return [one.values[path] for one in near if one.values[path] != values[path]]


def test_the_values_next_to_a_number() -> None:
    stepped = SearchSpace(Box(rank=Integer(1, 9, step=2))).bind(ToyAnatomy())
    assert _ranks(stepped, {"toy_box.rank": 5}, "toy_box.rank") == [3, 7]
    assert _ranks(stepped, {"toy_box.rank": 9}, "toy_box.rank") == [7]
    doubled = SearchSpace(Box(rank=Integer(1, 64, log=True))).bind(ToyAnatomy())
    assert _ranks(doubled, {"toy_box.rank": 16}, "toy_box.rank") == [8, 15, 17, 32]
    assert _ranks(doubled, {"toy_box.rank": 50}, "toy_box.rank") == [25, 49, 51, 64]
    assert _ranks(doubled, {"toy_box.rank": 1}, "toy_box.rank") == [2]
    real = SearchSpace(Box(scale=Real(1.0, 2.0))).bind(ToyAnatomy())
    assert _ranks(real, {"toy_box.scale": 1.5}, "toy_box.scale") == pytest.approx([1.4, 1.6])
    assert _ranks(real, {"toy_box.scale": 2.0}, "toy_box.scale") == pytest.approx([1.9])


def test_what_becomes_active_is_filled_in() -> None:
    space = SearchSpace(
        Maybe(Box(rank=Integer(1, 64, log=True), layers=Subset.of_layers())), Maybe(Soft())
    )
    bound = space.bind(ToyAnatomy(2))
    near = bound.neighbours(bound.replay({"toy_box": False, "toy_soft": False}))
    assert [one.architecture for one in near] == [
        Architecture(Box(rank=6, layers=(0, 1))),
        Architecture(Soft()),
    ]
    tight = SearchSpace(*space.items, max_parameters=40).bind(ToyAnatomy(2))
    near = tight.neighbours(tight.replay({"toy_box": False, "toy_soft": False}))
    assert [one.architecture for one in near] == [Architecture(Box(rank=1, layers=(1,)))]


def test_one_item_of_a_subset_is_flipped() -> None:
    bound = SearchSpace(Low(targets=Subset("query", "key", "value"))).bind(ToyAnatomy())
    last = bound.point(Architecture(Low(targets=("value",))))
    assert "toy_low.targets.value" not in last.values  # forced, so the walk does not ask
    near = [one.methods[0] for one in bound.neighbours(last.architecture)]
    assert near == [Low(targets=("query", "value")), Low(targets=("key", "value"))]


def test_a_tied_draw_is_one_change() -> None:
    size = Shared("size", Integer(1, 3))
    bound = SearchSpace(Box(rank=size), Low(rank=size)).bind(ToyAnatomy())
    near = bound.neighbours(Architecture(Box(rank=1), Low(rank=1)))
    assert near == [Architecture(Box(rank=2), Low(rank=2))]


def test_mutation_changes_every_dimension_alike() -> None:
    bound = SearchSpace(
        Box(rank=Integer(1, 9), activation=Choice("relu", "gelu")), Soft(length=Choice(1, 2, 3))
    ).bind(ToyAnatomy())
    parent = bound.replay({"toy_box.rank": 5, "toy_box.activation": "relu", "toy_soft.length": 2})
    changed = dict.fromkeys(parent.values, 0)
    for seed in range(900):
        child = bound.mutate(parent, seed)
        differ = [path for path in changed if child.values[path] != parent.values[path]]
        assert len(differ) == 1
        changed[differ[0]] += 1
    assert all(240 < n < 360 for n in changed.values()), changed
    all_at_once = bound.mutate(parent, 0, rate=1)
    assert all(all_at_once.values[path] != parent.values[path] for path in changed)


def test_mutation_finds_the_only_other() -> None:
    # one change of either dimension breaks the constraint, both together do not
    space = SearchSpace(
        Box(rank=Choice(1, 2)),
        Low(rank=Choice(1, 2)),
        constraints=["toy_low.rank == toy_box.rank"],
    )
    bound = space.bind(ToyAnatomy())
    parent = Architecture(Box(rank=1), Low(rank=1))
    assert bound.neighbours(parent) == []
    assert bound.mutate(parent, 0) == Architecture(Box(rank=2), Low(rank=2))
    alone = SearchSpace(Box()).bind(ToyAnatomy())
    assert alone.mutate(Architecture(Box()), 0) == Architecture(Box())
    assert alone.neighbours(Architecture(Box())) == []


def test_methods_are_inherited_whole_in_half_of_the_draws() -> None:
    box = Box(
        rank=Integer(1, 4), site=Choice("ffn", "attention"), activation=Choice("relu", "gelu")
    )
    bound = SearchSpace(box).bind(ToyAnatomy())
    a = Architecture(Box(rank=1, site="ffn", activation="relu"))
    b = Architecture(Box(rank=4, site="attention", activation="gelu"))
    children = [bound.crossover(a, b, seed) for seed in range(800)]
    # by item always a parent, by dimension in 2 of 8 cases
    whole = sum(child in (a, b) for child in children) / 800
    assert whole == pytest.approx(1 / 2 + 1 / 8, abs=0.06)


def test_a_child_that_breaks_a_constraint_is_a_parent() -> None:
    space = SearchSpace(Maybe(Box()), Maybe(Low()), constraints=[at_least(1, "layers")])
    bound = space.bind(ToyAnatomy())
    a, b = Architecture(Box()), Architecture(Low())
    children = {bound.crossover(a, b, seed) for seed in range(30)}
    assert children == {a, b, bound.canonical(Architecture(Box(), Low()))}


def test_what_is_outside_is_refused() -> None:
    space = SearchSpace(Maybe(Box(rank=Integer(1, 4))), Maybe(Low()), max_parameters=500)
    bound = space.bind(ToyAnatomy())
    over = bound.replay({"toy_box": True, "toy_box.rank": 4, "toy_low": True})
    with pytest.raises(ValueError, match="inside .* changed: .* must be <= 500"):
        bound.neighbours(Architecture(Box(rank=9)))
    with pytest.raises(ValueError, match="the method must be one of .*, got toy_span"):
        bound.mutate(Architecture(Span(length=1)), 0)
    with pytest.raises(ValueError, match=r"must be <= 500 .*, got 720"):
        bound.crossover(over, over, 0)
    with pytest.raises(ValueError, match="toy_low is active and needs a value"):
        bound.neighbours(Point({"toy_box": False}, Architecture()))
    for rate in (0, 1.5, True, "half"):
        with pytest.raises(ValueError, match="rate must be a chance above 0, at most 1, got"):
            bound.mutate(Architecture(Low()), 0, rate=rate)  # type: ignore[arg-type]


def test_active_columns() -> None:
    bound = SearchSpace(
        Maybe(Box(rank=PerLayer(Integer(1, 3)), layers=Subset.of_layers())),
        Soft(length=Choice(1, 2)),
    ).bind(ToyAnatomy(2))
    point = bound.replay(
        {
            "toy_box": True,
            "toy_box.layers.0": False,
            "layers[1].toy_box.rank": 2,
            "toy_soft.length": 1,
        }
    )
    mask = bound.active(point)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [True, True, False, False, True, True]
    assert np.array_equal(bound.active(bound.encode(point)), mask)
    assert np.array_equal(bound.active(np.nan_to_num(bound.encode(point), nan=0.5)), mask)
    assert np.array_equal(bound.active(bound.canonical(point.architecture)), mask)
    assert bound.active([0.0, 0.5, 0.5, 0.5, 0.5, 0.5]).tolist() == [True, *[False] * 4, True]
