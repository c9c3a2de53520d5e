"""Draws in which every architecture of a space is equally likely, all over or within strata."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.redrawn import with_training

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_TRIES = 20_000


def uniform(
    bound: BoundSpace, n: int, rng: random.Random, low: int, high: int
) -> list[Architecture]:
    """``n`` architectures with ``low .. high`` trainable parameters that meet every constraint.

    What is counted are architectures; the training settings of their methods are drawn from their
    domains, each independently.

    Raises:
        ValueError: if the space is too entangled, or hardly one meets the constraints.
    """
    found = list(_draws(bound, n, rng, low, high))
    if len(found) < n:
        raise ValueError(
            f"of {_TRIES:,} architectures with {low:,} to {high:,} trainable parameters hardly "
            "one met every constraint; loosen a constraint or use sample(seed)"
        )
    return with_training(bound, found, rng)


def stratified(bound: BoundSpace, n: int, seed: int, strata: int) -> list[Architecture]:
    """See ``BoundSpace.stratified``."""
    if isinstance(strata, bool) or not isinstance(strata, int) or strata < 1:
        raise ValueError(f"strata must be a whole number >= 1, got {strata!r}")
    rng = random.Random(seed)
    edges = _edges(bound, strata)
    filled = [
        (low, high)
        for low, high in zip(edges, edges[1:], strict=False)
        if list(_draws(bound, 1, random.Random(seed), low, high - 1))
    ]
    found = []
    for index, (low, high) in enumerate(filled):
        share = n // len(filled) + (index < n % len(filled))
        found += uniform(bound, share, rng, low, high - 1)
    return found


def _edges(bound: BoundSpace, strata: int) -> list[int]:
    """Ends of the strata, in one ratio: the first at the fewest parameters above 0."""
    low, high = bound.parameter_range(placing=True)
    if high == 0:
        raise ValueError(
            "stratified sampling needs an architecture that trains parameters, got none in this "
            "space; use uniform"
        )
    ratio = (high / low) ** (1 / strata)
    return [low, *(math.ceil(low * ratio**i) for i in range(1, strata)), high + 1]


def _draws(
    bound: BoundSpace, n: int, rng: random.Random, low: int, high: int
) -> Iterator[Architecture]:
    """Up to ``n`` of them."""
    drawer = bound.drawer(low, high)
    found = 0
    for _ in range(_TRIES + 100 * n):
        if found == n:
            return
        architecture = drawer.draw(rng)
        if architecture is None:
            return
        placed = bound.placed(architecture)
        if low <= placed.count <= high and bound.broken_constraint(architecture) is None:
            found += 1
            yield placed.architecture
