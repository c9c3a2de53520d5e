"""Bounds hold: of points, of architectures, of their parameters."""

from __future__ import annotations

import pytest

from peftnas.spaces import (
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
from peftnas.spaces.enumerate import walks
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing, Loose
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy

LAYERS = Subset.of_layers()


def test_points_of_tied_items_are_bounded() -> None:
    size = Shared("s", Integer(1, 3))
    space = SearchSpace(Span(length=size, layers=LAYERS), Bias(layers=LAYERS), Box(rank=size))
    raw = space.bind(ToyAnatomy(8)).raw_size()
    assert not raw.exact and raw.low <= 3 * 255 * 255 <= raw.high


def test_draws_of_a_real_are_one_architecture() -> None:
    space = SearchSpace(
        Maybe(Span(length=Integer(1, 2))), Bias(), Box(scale=Real(1.0, 2.0), layers=LAYERS)
    )
    bound = space.bind(ToyAnatomy(2))
    listed, loose = Listing(bound, walks(bound.draw)), Loose(bound)
    assert loose.distinct(None) == listed.distinct(None) == (9, 9)
    assert loose.raw(None) == listed.raw(None) == (9, 9)


NEEDING = {
    "layers beside a prompt": SearchSpace(
        Maybe(Soft(length=1)),
        Maybe(Box(rank=PerLayer(Integer(1, 3)), layers=LAYERS)),
        constraints=[at_least(1, "layers")],
    ),
    "two layers": SearchSpace(
        Maybe(Box(rank=PerLayer(Integer(0, 2)))),
        Maybe(Low(rank=Choice(1, 3), layers=LAYERS)),
        constraints=[at_least(2, "layers")],
    ),
    "two methods": SearchSpace(
        Maybe(Box(rank=Integer(1, 4))),
        Maybe(Low(rank=Integer(1, 4))),
        Maybe(Soft(length=Integer(2, 5))),
        constraints=[at_least(2, "methods")],
    ),
    "two methods, a gate, a budget": SearchSpace(
        Maybe(Box(rank=Integer(1, 4))),
        Maybe(Span(length=Integer(1, 4))),
        Maybe(Soft(length=Integer(2, 5))),
        gate=Choice(None, "unipelt"),
        max_parameters=407,
        constraints=[at_least(2, "methods")],
    ),
    "two methods in three layers": SearchSpace(
        Maybe(Box(rank=PerLayer(Integer(0, 1)))),
        Maybe(Low(rank=Integer(1, 2), layers=LAYERS)),
        Soft(length=Integer(0, 1)),
        constraints=[at_least(2, "methods"), at_least(3, "layers")],
    ),
}


@pytest.mark.parametrize("name", NEEDING)
def test_the_range_of_parameters_is_that_of_the_list(name: str) -> None:
    bound = NEEDING[name].bind(ToyAnatomy(3))
    listed = Listing(bound, walks(bound.draw))
    for placing in (False, True):
        assert Census(bound).parameters(placing) == listed.parameters(placing)


def test_the_range_of_parameters_of_large_spaces() -> None:
    prompted = SearchSpace(
        Maybe(Soft(length=1)),
        Maybe(Box(rank=PerLayer(Integer(1, 8)), layers=LAYERS)),
        constraints=[at_least(1, "layers")],
    )
    assert prompted.bind(ToyAnatomy(4)).parameter_range() == (20, 650)
    two = SearchSpace(
        Maybe(Box(rank=Integer(1, 40))),
        Maybe(Low(rank=Integer(1, 40))),
        Maybe(Soft(length=Integer(1, 40))),
        constraints=[at_least(2, "methods")],
    )
    assert two.bind(ToyAnatomy(3)).parameter_range() == (70, 5200)
    layered = SearchSpace(Low(rank=PerLayer(Integer(0, 5))), constraints=[at_least(2, "layers")])
    assert layered.bind(ToyAnatomy(10)).parameter_range() == (40, 1000)
