"""Draws in which every architecture of a space is equally likely, all over or within strata."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.redrawn import redrawn

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_TRIES = 20_000


def uniform(
    bound: BoundSpace, n: int, rng: random.Random, low: int, high: int | None
) -> list[Architecture]:
    """``n`` architectures with ``low .. high`` trainable parameters that meet every constraint.

    What is counted are architectures; each ``Real`` and the training settings of their methods
    are drawn from their domains, each independently.

    Raises:
        ValueError: if ``n`` is no number, the space is too entangled, or hardly one meets the
            constraints.
    """
    _check_number("uniform", n)
    return _Range(bound, low, high).draw(n, rng)


def stratified(bound: BoundSpace, n: int, seed: int, strata: int) -> list[Architecture]:
    """See ``BoundSpace.stratified``."""
    _check_number("stratified", n)
    if isinstance(strata, bool) or not isinstance(strata, int) or strata < 1:
        raise ValueError(f"strata must be a whole number >= 1, got {strata!r}; take 10")
    rng = random.Random(seed)
    edges = _edges(bound, strata)
    ranges = [_Range(bound, low, high - 1) for low, high in itertools.pairwise(edges)]
    filled = [one for one in ranges if list(one.some(1, random.Random(seed)))]
    found = []
    for index, one in enumerate(filled):
        found += one.draw(n // len(filled) + (index < n % len(filled)), rng)
    return found


def _check_number(name: str, n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise ValueError(f"{name} draws a whole number n >= 0, got n={n!r}; take 100")


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


class _Range:
    """Draws architectures with ``low .. high`` trainable parameters; ``None``: no limit."""

    def __init__(self, bound: BoundSpace, low: int, high: int | None) -> None:
        self._bound, self._low, self._high = bound, low, high
        self._drawer = bound.drawer(low, high)

    def draw(self, n: int, rng: random.Random) -> list[Architecture]:
        """So many of them; ValueError if hardly one meets the constraints."""
        found = list(self.some(n, rng))
        if len(found) < n:
            most = "" if self._high is None else f" to {self._high:,}"
            raise ValueError(
                f"of {_TRIES:,} architectures with {self._low:,}{most} trainable parameters "
                "hardly one met every constraint; loosen a constraint or use sample(seed)"
            )
        return redrawn(self._bound, found, rng)

    def some(self, n: int, rng: random.Random) -> Iterator[Architecture]:
        """Up to so many."""
        most = math.inf if self._high is None else self._high
        found = 0
        for _ in range(_TRIES + 100 * n):
            if found == n:
                return
            architecture = self._drawer.draw(rng)
            if architecture is None:
                return
            placed = self._bound.placed(architecture)
            within = self._low <= placed.count <= most
            if within and self._bound.broken_constraint(architecture) is None:
                found += 1
                yield placed.architecture
