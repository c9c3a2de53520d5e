"""Constraints between fields, against brute force; and bounds where these are not counted."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftnas.spaces import (
    BoundSpace,
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
)
from peftnas.spaces.enumerate import walks
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing
from tests.spaces.toy import Bias, Box, Low, Soft, ToyAnatomy

WIDE = Shared("wide", Choice(False, True))
LAYERS = Subset.of_layers()
GATE = Choice(None, "unipelt")

_PLAIN = st.sampled_from(
    [2, Integer(1, 3), Choice(1, 4), Choice(2, Integer(1, 2)), Switch(WIDE, {False: 1, True: 3})]
)
_BY_LAYER = st.sampled_from(
    [
        PerLayer(Integer(2, 3)),
        PerLayer(Choice(0, 2)),
        PerGroup(2, Integer(1, 2)),
        PerGroup(2, Choice(0, 1, 4), Shared("cut", Choice("increasing", "decreasing"))),
        PerLayer(Choice(2, Integer(1, 2))),
    ]
)
_LAYERS = st.sampled_from([None, (0, 1), LAYERS, Subset.of_layers(min_size=2)])
_CONSTRAINTS = (
    "toy_low.rank <= toy_box.rank",
    "toy_low.rank != toy_box.rank",
    "toy_box.rank < toy_soft.length",
    "toy_low.rank <= 2",
    forbid("toy_low", {"toy_box.rank": (1, 3)}),
    forbid({"toy_low.rank": (2,), "toy_soft.length": (1, 2)}),
    forbid("toy_box", "toy_low", "toy_soft"),
    at_least(2, "layers"),
)


@st.composite
def tied(draw: st.DrawFn, ranks: st.SearchStrategy[Any] = _PLAIN) -> SearchSpace:
    """A space of three methods and one or two constraints on their sizes."""
    styles = st.sampled_from(["serial", Choice("serial", "parallel")])
    items = [
        Low(rank=draw(ranks), layers=draw(_LAYERS)),
        Box(rank=draw(_PLAIN), style=draw(styles)),
        Soft(length=draw(_PLAIN)),
    ]
    return SearchSpace(
        *(Maybe(item) if draw(st.booleans()) else item for item in items),
        gate=draw(st.sampled_from([None, GATE])),
        max_parameters=draw(st.sampled_from([None, 60, 150])),
        constraints=draw(st.lists(st.sampled_from(_CONSTRAINTS), min_size=1, max_size=2)),
    )


def _check(bound: BoundSpace) -> None:
    """Structure says what listing says; Unstructured where it cannot."""
    listed, census = Listing(bound, walks(bound.draw)), Census(bound)
    for budget in (bound.max_parameters, min(100, bound.max_parameters or 100)):
        assert census.distinct(budget) == listed.distinct(budget)
        assert census.raw(budget) == listed.raw(budget)
    if listed.parameters(False):
        assert census.parameters(False) in (None, listed.parameters(False))
    assert census.cumulated([30, 60]) == listed.cumulated([30, 60])


@settings(max_examples=40, deadline=None)
@given(tied(), st.integers(2, 3))
def test_relations_of_plain_fields_are_exact(space: SearchSpace, n_layers: int) -> None:
    _check(space.bind(ToyAnatomy(n_layers)))


@settings(max_examples=40, deadline=None)
@given(tied(_BY_LAYER), st.integers(2, 3))
def test_relations_of_a_field_that_differs_by_layer_with_plain_ones_are_exact(
    space: SearchSpace, n_layers: int
) -> None:
    _check(space.bind(ToyAnatomy(n_layers)))


RANKS = SearchSpace(
    Maybe(Low(rank=PerLayer(Integer(1, 3)), layers=LAYERS)),
    Maybe(Box(rank=Integer(1, 3))),
    gate=GATE,
    constraints=["toy_low.rank <= toy_box.rank"],
)


def test_draws_under_a_relation_are_equally_likely() -> None:
    bound = RANKS.bind(ToyAnatomy(2))
    listed, drawer = Listing(bound, walks(bound.draw)), Census(bound).drawer(0, None)
    number, rng, times = listed.distinct(None)[0], random.Random(0), 60
    assert drawer is not None
    drawn = [drawer.draw(rng) for _ in range(number * times)]
    assert all(one and bound.broken_constraint(one) is None for one in drawn)
    found = Counter(bound.train_key(one) for one in drawn if one)
    assert len(found) == number
    chi = sum((n - times) ** 2 / times for n in found.values())
    assert chi < number + 5 * (2 * number) ** 0.5


def test_many_values_on_both_sides() -> None:
    bound = SearchSpace(
        Box(rank=Integer(1, 300), scale=Choice(1.0, 2.0)),
        Low(rank=Integer(1, 100), targets=Subset("query", "key", "value")),
        constraints=["toy_low.rank <= toy_box.rank"],
    ).bind(ToyAnatomy(2))
    pairs = sum(min(box, 100) for box in range(1, 301))
    assert bound.size() == bound.raw_size() == pairs * 2 * 7


def test_a_relation_that_all_values_meet_changes_nothing() -> None:
    items = (
        Maybe(Low(rank=PerGroup(3, Choice(1, 2, 4)), targets=Subset("query", "key", "value"))),
        Maybe(Box(rank=Switch(WIDE, {False: 8, True: Integer(16, 20)}), layers=LAYERS)),
        Maybe(Soft(length=Switch(WIDE, {False: Choice(1, 2), True: 16}))),
    )
    free = SearchSpace(*items).bind(ToyAnatomy(6)).size()
    tied = SearchSpace(*items, constraints=["toy_low.rank <= toy_box.rank"])
    assert free.exact and tied.bind(ToyAnatomy(6)).size() == free


ENTANGLED = {
    "two fields that differ by layer": "toy_low.rank <= toy_box.rank",
    "stored bytes": max_stored_bytes("200kB"),
}


@pytest.mark.parametrize("name", ENTANGLED)
def test_a_constraint_never_raises_the_upper_bound(name: str) -> None:
    items = (
        Maybe(Low(rank=PerLayer(Integer(1, 4)), layers=LAYERS)),
        Maybe(Box(rank=PerLayer(Integer(1, 4)))),
        Maybe(Bias(layers=LAYERS)),
    )
    free = SearchSpace(*items).bind(ToyAnatomy(5))
    bound = SearchSpace(*items, constraints=[ENTANGLED[name]]).bind(ToyAnatomy(5))
    assert free.size().exact and not bound.size().exact
    assert bound.size().high <= free.size().high
    assert bound.raw_size().high <= free.raw_size().high
    for tight, wide in zip(bound.sizes([100, 500]), free.sizes([100, 500]), strict=True):
        assert tight.low <= tight.high <= wide.high
    kept = SearchSpace(*items, constraints=[ENTANGLED[name], at_least(3, "layers")])
    needing = SearchSpace(*items, constraints=[at_least(3, "layers")]).bind(ToyAnatomy(5))
    assert kept.bind(ToyAnatomy(5)).size().high <= needing.size().high < free.size().high


def test_fields_drawn_by_layer_that_are_compared_with_each_other_are_not_taken_apart() -> None:
    space = SearchSpace(
        Low(rank=PerLayer(Integer(1, 2))),
        Box(rank=PerLayer(Integer(1, 2))),
        constraints=["toy_low.rank <= toy_box.rank"],
    )
    with pytest.raises(Unstructured):
        Census(space.bind(ToyAnatomy(2)))


def test_methods_in_groups_under_a_relation() -> None:
    space = SearchSpace(
        Grouped(Low(rank=Integer(1, 3)), Bias(targets=Choice(("query",), ("key",))), n=2),
        Maybe(Box(rank=Integer(1, 3))),
        constraints=["toy_low.rank <= toy_box.rank"],
    )
    _check(space.bind(ToyAnatomy(3)))
