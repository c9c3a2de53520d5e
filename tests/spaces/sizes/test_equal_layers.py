"""Layers that are alike are read once, those that are not each for itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from peftnas.spaces import ByLayer, Choice, Configurable, Integer, SearchSpace, Subset, setting
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Layers, Whole
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing
from peftnas.spaces.structure import PerLayer
from tests.spaces.toy import Box, Part, ToyAnatomy


@dataclass(frozen=True, kw_only=True)
class Uneven(Configurable):
    """Its modules are larger in layer 2 than elsewhere."""

    kind: ClassVar[str] = "toy_uneven"
    rank: Any = setting(Whole(0), default=1, by_layer=True, size=True)
    layers: Any = setting(Layers(), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[Part]:
        for layer in range(anatomy.n_layers) if self.layers is None else self.layers:
            rank = self.at(layer).rank
            if rank:
                width = 7 if layer == 2 else 5
                yield Part(self.kind, f"layers[{layer}].uneven", (rank, width), rank * width)


EVERY = Subset.of_layers(min_size=0)
SPACES = {
    "sizes of 0 come first": SearchSpace(Uneven(rank=Integer(0, 9), layers=EVERY)),
    "drawn by layer": SearchSpace(Uneven(rank=PerLayer(Integer(0, 2)), layers=EVERY)),
    "in all layers": SearchSpace(Uneven(rank=PerLayer(Integer(0, 3)))),
    "given by layer, last": SearchSpace(
        Box(
            rank=Choice(1, 2, 3, 4, 5, ByLayer({0: 1, 1: 2, 2: 2, 3: 6}), ByLayer({1: 3})),
            layers=EVERY,
        )
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_sizes_equal_listing(name: str) -> None:
    bound = SPACES[name].bind(ToyAnatomy(4))
    listed, census = Listing(bound, walks(bound.draw)), Census(bound)
    for budget in (None, 0, 20, 37, 60, 100):
        assert census.distinct(budget) == listed.distinct(budget)
        assert census.raw(budget) == listed.raw(budget)
