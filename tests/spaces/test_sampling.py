"""Uniform draws against chi-square, stratified draws against their strata."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from scipy.stats import chi2

from peftnas.spaces import (
    BoundSpace,
    Choice,
    Integer,
    Maybe,
    PerLayer,
    Real,
    SearchSpace,
    Shared,
    Subset,
    at_least,
)
from peftnas.spaces.sizes.census import Census
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy

LAYERS = Subset.of_layers()
# 200 and more architectures that points give unequally often, through the census
SKEWED = {
    "sizes of 0": SearchSpace(
        Box(rank=PerLayer(Integer(0, 2)), layers=LAYERS), Maybe(Soft(length=Integer(0, 5)))
    ),
    "two of a kind": SearchSpace(
        Low(rank=Integer(0, 3), layers=LAYERS), Low(rank=Integer(0, 3), layers=LAYERS)
    ),
    "gate": SearchSpace(
        Maybe(Box(rank=Integer(0, 4), layers=LAYERS)),
        Maybe(Span(length=Integer(0, 2))),
        Bias(targets=Choice(("query",), ("value",))),
        gate=Choice(None, "unipelt"),
    ),
    "budget": SearchSpace(
        Box(rank=Shared("size", Integer(0, 9)), layers=LAYERS),
        Low(rank=Shared("size", Integer(0, 9)), layers=LAYERS),
        max_parameters=700,
        constraints=[at_least(2, "layers")],
    ),
}


@pytest.mark.parametrize("name", SKEWED)
def test_every_architecture_is_equally_likely(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = SKEWED[name].bind(ToyAnatomy(4))
    monkeypatch.setattr(BoundSpace, "_counting", Census(bound))  # not by listing its few points
    size, draws = int(bound.size()), 20_000
    drawn = Counter(bound.train_key(one) for one in bound.uniform(draws, seed=1))
    assert 100 < size < 2_000 and len(drawn) <= size
    expected = draws / size
    statistic = sum((drawn[key] - expected) ** 2 for key in drawn) / expected
    statistic += (size - len(drawn)) * expected
    assert chi2.sf(statistic, size - 1) > 1e-3


def test_a_listed_space_is_drawn_uniformly() -> None:
    bound = SearchSpace(
        Box(rank=Integer(0, 13), layers=LAYERS), constraints=[at_least(1, "layers")]
    ).bind(ToyAnatomy(4))
    assert bound.size() == 13 * 15
    drawn = Counter(bound.train_key(one) for one in bound.uniform(20_000, seed=2))
    expected = 20_000 / len(drawn)
    statistic = sum((number - expected) ** 2 for number in drawn.values()) / expected
    assert len(drawn) == 13 * 15 and chi2.sf(statistic, len(drawn) - 1) > 1e-3


def test_strata_of_the_logarithm_are_filled_evenly() -> None:
    bound = SearchSpace(
        Maybe(Box(rank=Integer(1, 400, log=True), layers=LAYERS)),
        Maybe(Low(rank=PerLayer(Integer(0, 7)))),
        Maybe(Soft(length=Integer(1, 50))),
    ).bind(ToyAnatomy(6))
    drawn = bound.stratified(1_000, seed=3)
    assert drawn == bound.stratified(1_000, seed=3) != bound.stratified(1_000, seed=4)
    low, high = bound.parameter_range(placing=True)
    deciles = Counter(
        min(int(10 * math.log(bound.count(one) / low) / math.log((high + 1) / low)), 9)
        for one in drawn
    )
    assert sorted(deciles) == list(range(10))
    assert all(90 <= number <= 110 for number in deciles.values())
    assert all(bound.contains(one) for one in drawn[::50])


def test_a_large_space_is_drawn_from_in_moments() -> None:
    bound = SearchSpace(
        Box(rank=PerLayer(Integer(0, 1)), layers=LAYERS), Low(rank=PerLayer(Integer(0, 1)))
    ).bind(ToyAnatomy(40))
    assert bound.size() == 2**80
    ranks = [len(one.methods) for one in bound.uniform(100, seed=0)]
    assert ranks == [2] * 100
    used = [bound.count(one) / (40 * (20 + 20)) for one in bound.uniform(100, seed=0)]
    assert 0.45 < sum(used) / 100 < 0.55


# kinds that must be drawn somewhere: a part outside of the layers keeps methods apart
HASHED = """
import hashlib
from peftnas.spaces import Grouped, Integer, SearchSpace
from tests.spaces.toy import Bias, Box, Low, ToyAnatomy

ranks, biases = Integer(1, 6), Bias(targets=("query", "embeddings"))
bound = SearchSpace(Grouped(Low(rank=ranks), Box(rank=ranks), biases, n=None)).bind(ToyAnatomy(4))
drawn = [*bound.uniform(20, 0), *bound.stratified(2, 0, strata=1)]
drawn.append(bound.mutate(drawn[0], 0))
print(bound.size(), hashlib.md5(repr(drawn).encode()).hexdigest())
"""


def test_draws_do_not_depend_on_the_seed_of_hashes() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", HASHED],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(outputs) == 1


def test_the_largest_architectures_are_drawn() -> None:
    space = SearchSpace(
        Maybe(Box(rank=Integer(1, 40))),
        Maybe(Low(rank=Integer(1, 40))),
        Maybe(Soft(length=Integer(1, 40))),
        constraints=[at_least(2, "methods")],
    )
    bound = space.bind(ToyAnatomy(3))
    counts = [bound.count(one) for one in bound.uniform(4_000, 0)]
    assert max(counts) > 5_000 and min(counts) >= 70
    assert max(map(bound.count, bound.stratified(200, 0))) > 4_000


def test_numbers_beyond_floats_are_drawn_from() -> None:
    """Under a budget that only the last 2**-100 of all architectures meet."""
    ranks = PerLayer(Integer(0, 63))
    space = SearchSpace(Low(rank=ranks), Box(rank=ranks), max_parameters=2_000)
    bound = space.bind(ToyAnatomy(24))
    counts = [bound.count(one) for one in bound.uniform(20, 0)]
    assert bound.size().low * 2**100 < 64**48
    assert max(counts) <= 2_000 and min(counts) > 1_000
    assert bound.drawer(0, 500).draw(random.Random(0)) is not None


def test_reals_are_drawn_from_their_domains() -> None:
    space = SearchSpace(
        Box(scale=Real(1.0, 2.0), rank=PerLayer(Integer(1, 30))), Low(rank=Integer(1, 4))
    )
    bound = space.bind(ToyAnatomy(4))
    drawn = [next(m for m in one.methods if m.kind == "toy_box") for one in bound.uniform(200, 0)]
    scales = [method.scale for method in drawn]  # type: ignore[attr-defined]
    assert len(set(scales)) == 200 and 1.4 < sum(scales) / 200 < 1.6
    assert min(scales) < 1.05 and max(scales) > 1.95
    assert bound.uniform(20, 0) == bound.uniform(20, 0)
    assert len({repr(one) for one in bound.stratified(50, 0)}) == 50


@pytest.mark.parametrize("n", [-3, "3", 2.0, True])
def test_how_many_are_drawn_is_a_whole_number(n: Any) -> None:
    bound = SearchSpace(Box(rank=Integer(1, 4))).bind(ToyAnatomy())
    with pytest.raises(ValueError, match=r"uniform draws a whole number n >= 0, got n=.*; take"):
        bound.uniform(n, 0)
    with pytest.raises(ValueError, match=r"stratified draws a whole number n >= 0, got n="):
        bound.stratified(n, 0)
    assert bound.uniform(0, 0) == bound.stratified(0, 0) == []


def test_sizes_take_the_budgets_that_size_takes() -> None:
    bound = SearchSpace(Box(rank=Integer(1, 4))).bind(ToyAnatomy())
    assert bound.sizes(["2%", 120]) == [bound.size("2%"), bound.size(120)] == [1, 2]
    for budget in (-5, 1.5, None):
        with pytest.raises(ValueError):
            bound.sizes([budget])  # type: ignore[list-item]


def test_refusals() -> None:
    bound = SearchSpace(Box(rank=0)).bind(ToyAnatomy())
    with pytest.raises(ValueError, match="an architecture that trains parameters"):
        bound.stratified(10, seed=0)
    with pytest.raises(ValueError, match="strata must be a whole number >= 1, got 0"):
        bound.stratified(10, seed=0, strata=0)


def test_what_a_method_in_no_layer_places_outside_of_them_is_drawn() -> None:
    bound = SearchSpace(
        Bias(targets=("query", "embeddings"), layers=Subset.of_layers(min_size=0)),
        Maybe(Low(rank=Integer(1, 80))),
    ).bind(ToyAnatomy(5))
    assert int(bound.raw_size()) > 2_000
    drawn = bound.uniform(500, seed=0)
    assert all(bound.contains(one) for one in drawn)
    none = [m for one in drawn for m in one.methods if m.kind == "toy_bias" and not m.layers]
    assert none, "one subset of 32 has no layer"
    assert all(bound.contains(one) for one in bound.stratified(100, seed=0))


def test_a_space_in_which_nothing_that_trains_fits() -> None:
    wide = Maybe(Low(rank=Integer(50, 99))), Maybe(Box(rank=Integer(50, 99)))
    bound = SearchSpace(*wide, max_parameters=3).bind(ToyAnatomy(6))
    assert bound.size() == 1
    assert bound.parameter_range(placing=True) == bound.parameter_range() == (0, 0)
    with pytest.raises(ValueError, match="needs an architecture that trains parameters"):
        bound.stratified(3, seed=0)
