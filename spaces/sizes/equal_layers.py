"""Which layers of a backbone hold the same modules, learnt from the first methods placed.

Thousands of methods of a space differ in their sizes alone. Once it is known which layers a few of
them fill alike, the others are placed in one layer of each sort.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.sizes.letters import Letter
from peftnas.spaces.structure import ByLayer

_LEARNT = 3
"""Methods that must have filled layers alike, each in all layers."""

Looks = tuple[tuple[Any, ...], ...]
"""What is left of draws without their sizes and layers."""


class EqualLayers:
    """For the looks of methods, the layers that these fill alike."""

    def __init__(self) -> None:
        self._placed: Counter[tuple[tuple[int, ...], Looks]] = Counter()
        self._first: dict[tuple[tuple[int, ...], Looks], tuple[int, ...]] = {}

    def known(
        self, layers: tuple[int, ...], looks: Looks, draws: Sequence[Configurable]
    ) -> tuple[int, ...] | None:
        """For each layer the first that has the same letters; ``None`` where that is open.

        Args:
            layers: of a method.
            looks: of its draws.
            draws: of it in a single layer.
        """
        key = (layers, looks)
        if self._placed[key] < _LEARNT or _given_by_layer(draws[-1]):
            return None
        return self._first[key]

    def note(
        self,
        layers: tuple[int, ...],
        looks: Looks,
        draws: Sequence[Configurable],
        letters: Sequence[tuple[Letter, ...]],
    ) -> None:
        """Learn from draws that were placed in all layers.

        Args:
            layers: of the method.
            looks: of its draws.
            draws: of it in a single layer.
            letters: for each layer those of each draw.
        """
        if not any(map(any, letters)) or _given_by_layer(draws[-1]):
            return  # a size of 0, say, is the same in layers of any kind
        key = (layers, looks)
        before = self._first.get(key, (layers[0],) * len(layers))
        first: dict[object, int] = {}
        self._first[key] = tuple(
            first.setdefault(pair, layer)
            for layer, pair in zip(layers, zip(before, letters, strict=True), strict=True)
        )
        self._placed[key] += 1


def looks_of(draws: Iterable[Configurable]) -> Looks:
    """The looks of a few draws of one method."""
    return tuple(dict.fromkeys(map(_look, itertools.islice(draws, 4))))


def _look(method: Configurable) -> tuple[Any, ...]:
    """A method without its sizes and layers."""
    declared = settings(type(method))
    held = (
        getattr(method, name) for name in declared if name != "layers" and not declared[name].size
    )
    return (method.kind, *("by layer" if isinstance(one, ByLayer) else one for one in held))


def _given_by_layer(method: Configurable) -> bool:
    """Whether values were written down for several layers, and not drawn in one."""
    held = (getattr(method, name) for name in settings(type(method)))
    return any(isinstance(one, ByLayer) and len(one.layers) > 1 for one in held)
