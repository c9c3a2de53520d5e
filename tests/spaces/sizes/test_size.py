"""Sizes against brute force: on named shapes, and structure against listing on random spaces."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from peftnas.spaces import (
    BoundSpace,
    Choice,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    Real,
    SearchSpace,
    Size,
    Subset,
)
from peftnas.spaces.enumerate import all_points, walks
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing, Loose
from peftnas.spaces.sizes.reals import reals_matter
from peftnas.spaces.sizes.tally import number_within
from tests.spaces.strategies import ANATOMIES, spaces
from tests.spaces.test_language import SPACES
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy

LAYERS = Subset.of_layers()
RANKS = Integer(0, 2)

SHAPES = {
    "maybe": SearchSpace(Maybe(Box(rank=Integer(1, 5)))),
    "choice of methods": SearchSpace(
        Choice(Low(rank=RANKS), Soft(length=RANKS), Choice(Box(), None))
    ),
    "maybe a choice": SearchSpace(Maybe(Choice(Low(rank=Integer(1, 3)), Soft()))),
    "per layer": SearchSpace(Box(rank=PerLayer(RANKS))),
    "per layer in some layers": SearchSpace(Maybe(Box(rank=PerLayer(RANKS), layers=LAYERS))),
    "per group": SearchSpace(Low(rank=PerGroup(2, Integer(0, 3)), layers=LAYERS)),
    "subset with min_size": SearchSpace(
        Low(targets=Subset("query", "key", "value", min_size=2)), Maybe(Soft(length=RANKS))
    ),
    "conditional": SearchSpace(
        Box(style=Choice("serial", "parallel"), placement=Choice("a", "b"), rank=RANKS)
    ),
    "gate": SearchSpace(
        Maybe(Box(rank=RANKS)), Maybe(Span()), Maybe(Soft()), gate=Choice(None, "unipelt")
    ),
    "budget": SearchSpace(
        Maybe(Box(rank=Integer(1, 5), layers=LAYERS)),
        Maybe(Low(rank=Integer(1, 3))),
        max_parameters="7%",
    ),
    "same method twice": SearchSpace(Maybe(Box(rank=RANKS)), Maybe(Box(rank=RANKS))),
    "not the bare head": SearchSpace(
        Maybe(Box(rank=RANKS)), Maybe(Soft(length=RANKS)), at_least_one_method=True
    ),
    "a rule across methods": SearchSpace(
        Maybe(Span()), Maybe(Bias(targets=Subset("query", "key", "embeddings"), layers=LAYERS))
    ),
    "a constant part": SearchSpace(
        Maybe(Span(shared=Choice(False, True), layers=LAYERS)), max_parameters=140
    ),
    "nothing fits": SearchSpace(Box(rank=Integer(3, 5)), max_parameters=10),
}


# stored bytes, a module over all groups, a constraint on what differs by layer: bounds alone
LOOSE = (
    "few bytes",
    "grouped, empty sets",
    "constrained",
    "a width for each layer",
    "few targets",
)
LANGUAGE = {name: space for name, space in SPACES.items() if name not in LOOSE}


def _brute_force(bound: BoundSpace) -> tuple[int, int]:
    """(distinct, raw) by trying every combination of all dimensions."""
    columns = [_values(dimension.domain) for dimension in bound.dimensions()]
    paths = [dimension.path for dimension in bound.dimensions()]
    raw, keys = set(), set()
    for combination in itertools.product(*columns):
        answers = dict(zip(paths, combination, strict=True))
        point = bound.draw(lambda path, _, answers=answers: answers[path])
        if bound.broken_constraint(point.architecture) is None:
            raw.add(frozenset(point.values.items()))
            keys.add(bound.train_key(point.architecture))
    return len(keys), len(raw)


def _values(domain: Any) -> list[Any]:
    return list(domain.options if isinstance(domain, Choice) else domain.values())


@pytest.mark.parametrize("name", SHAPES)
def test_sizes_equal_brute_force(name: str) -> None:
    bound = SHAPES[name].bind(ToyAnatomy(2 if name == "same method twice" else 3))
    distinct, raw = _brute_force(bound)
    assert (bound.size(), bound.raw_size()) == (distinct, raw)
    if distinct:
        counts = [bound.count(bound.sample(seed)) for seed in range(20)]
        low, high = bound.parameter_range()
        assert low <= min(counts) and max(counts) <= high


@pytest.mark.parametrize("name", LANGUAGE)
def test_sizes_of_the_whole_language_equal_brute_force(name: str) -> None:
    bound = LANGUAGE[name].bind(ToyAnatomy(4))
    listed = Listing(bound, walks(bound.draw))
    distinct, raw, parameters = _census(bound)
    assert distinct == listed.distinct(None) and raw == listed.raw(None)
    assert parameters in (None, listed.parameters(False))
    for budget in (0, 100, 250):
        assert Census(bound).distinct(budget) == listed.distinct(budget)
        assert Census(bound).raw(budget) == listed.raw(budget)
    budgets = [300, 0, 40, 150]
    assert Census(bound).cumulated(budgets) == listed.cumulated(budgets)
    assert [int(size) for size in bound.sizes(budgets)] == [
        low for low, _ in listed.cumulated(budgets)
    ]


STRUCTURED = [name for name in SHAPES if name not in ("a rule across methods",)]


def _census(bound: BoundSpace) -> tuple[Any, ...]:
    census, budget = Census(bound), bound.max_parameters
    return census.distinct(budget), census.raw(budget), census.parameters(False)


@pytest.mark.parametrize("name", STRUCTURED)
def test_structure_counts_the_shapes_exactly(name: str) -> None:
    bound = SHAPES[name].bind(ToyAnatomy(3))
    distinct, raw, _ = _census(bound)
    assert distinct == (int(bound.size()),) * 2
    assert raw == (int(bound.raw_size()),) * 2


@settings(max_examples=60, deadline=None)
@given(spaces(), ANATOMIES)
def test_structure_agrees_with_listing(space: SearchSpace, anatomy: ToyAnatomy) -> None:
    bound = space.bind(anatomy)
    points = all_points(bound, 250)
    assume(points is not None)
    listed, budget = Listing(bound, points or []), bound.max_parameters
    try:
        distinct, raw, parameters = _census(bound)
    except Unstructured:
        assume(False)
    assert distinct == listed.distinct(budget)
    assert raw == listed.raw(budget)
    assert parameters == listed.parameters(False)
    if parameters is not None:
        low, high = Census(bound).around(False)
        assert low <= parameters[0] and parameters[1] <= high


@settings(max_examples=25, deadline=None)
@given(spaces(), ANATOMIES, st.sampled_from([0, 100]))
def test_bounds_hold(space: SearchSpace, anatomy: ToyAnatomy, budget: int) -> None:
    bound = space.bind(anatomy)
    points = all_points(bound, 250)
    assume(points is not None)
    listed, loose = Listing(bound, points or []), Loose(bound)
    assume(not reals_matter(bound))  # a list has each at its low end
    for limit in (bound.max_parameters, min(budget, bound.max_parameters or budget)):
        for found, true in (
            (loose.distinct(limit), listed.distinct(limit)),
            (loose.raw(limit), listed.raw(limit)),
        ):
            assert found[0] <= true[0] <= found[1]


def test_a_large_space_in_closed_form() -> None:
    bound = SearchSpace(
        Maybe(Box(rank=Integer(1, 100), layers=LAYERS)),
        Maybe(Low(rank=PerLayer(Integer(0, 7)))),
        gate=Choice(None, "unipelt"),
    ).bind(ToyAnatomy(8))
    one, other = 100 * (2**8 - 1), 8**8 - 1
    assert bound.size() == 1 + 2 * ((1 + one) * (1 + other) - 1)
    assert bound.raw_size() == 1 + 2 * ((1 + one) * (1 + other + 1) - 1)
    assert bound.parameter_range() == (0, (200 * 10 + 11 + 7 * 20 + 11) * 8)


def test_a_large_space_with_a_budget() -> None:
    """Layers on with one of 100 ranks: the budget leaves n layers of rank r with 20 n r <= 800."""
    space = SearchSpace(Box(rank=Integer(1, 100), layers=LAYERS), max_parameters="10%")
    bound = space.bind(ToyAnatomy(8))
    subsets = {1: 8, 2: 28, 3: 56, 4: 70, 5: 56, 6: 28, 7: 8, 8: 1}
    expected = sum(min(40 // n, 100) * number for n, number in subsets.items())
    assert bound.size() == bound.raw_size() == expected
    assert bound.parameter_range() == (20, 800)


def test_two_of_a_kind_are_told_apart() -> None:
    twin = Box(rank=Integer(1, 30), layers=LAYERS)
    bound = SearchSpace(Maybe(twin), Maybe(twin.replace(scale=2.0))).bind(ToyAnatomy(4))
    assert bound.size() == bound.raw_size() == (1 + 30 * 15) ** 2


def test_bounds_where_items_depend_on_each_other() -> None:
    """A bias of the key has an effect beside a span alone."""
    bias = Bias(targets=Subset("query", "key"), layers=LAYERS)
    bound = SearchSpace(Maybe(Span(length=Integer(1, 30))), Maybe(bias)).bind(ToyAnatomy(12))
    layers = 2**12 - 1
    size, exact = bound.size(), 1 + layers + 30 * (1 + 3 * layers)
    assert not size.exact and size.low <= exact <= size.high
    assert bound.raw_size() == 31 * (1 + 3 * layers)
    assert str(size).startswith("between ")
    with pytest.raises(ValueError, match="only an exact size is a number"):
        int(size)
    with pytest.raises(ValueError, match="only a space whose architectures can be counted"):
        bound.uniform(1, 0)


def test_real_fields_are_reported_apart() -> None:
    space = SearchSpace(Box(rank=Integer(1, 3), scale=Real(0.1, 1.0)))
    size = space.bind(ToyAnatomy()).size()
    assert size == 3 and size.reals == ("toy_box.scale",)


def test_a_size_reads_like_a_number() -> None:
    assert str(Size(5446350, 5446350)) == "5,446,350"
    assert str(Size(1, 2000)) == "between 1 and 2,000"
    assert Size(3, 3) == 3 and Size(3, 4) != 3 and int(Size(3, 3)) == 3
    assert Size(3, 4) == Size(3, 4) and hash(Size(3, 3)) == hash(3)


def test_many_different_counts_give_bounds() -> None:
    parts = [{k * (i + 7) + i: 1 for k in range(2500)} for i in range(4)]
    low, high = number_within(parts, 30_000)
    few = [{count: number for count, number in part.items() if count <= 400} for part in parts]
    assert 0 < low < high < 2500**4
    exact = number_within(few, 900)
    brute = sum(sum(counts) <= 900 for counts in itertools.product(*few))
    assert exact == (brute, brute)
