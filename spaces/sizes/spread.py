"""Architectures drawn from a census: each equally likely among those with so many parameters."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.tables import Tables
from peftnas.spaces.sizes.tally import Distribution

_SHARES = 2**53


@dataclass(frozen=True)
class _Under:
    """What one gate value gives.

    Attributes:
        number: combinations of words, by which the gate is drawn; as a share of the largest.
        parts: for each part, the share of its words in each bucket of weights.
        behind: for each part, the share of all later parts together in each bucket.
    """

    number: float
    parts: list[NDArray[np.float64]]
    behind: list[NDArray[np.float64]]


class Spread:
    """Draws architectures.

    Shares of buckets are floating point numbers; within a bucket words are counted exactly.

    Args:
        tables: of each part; their weights are multiples of ``step``.
        n_gates: values of the tied gate.
        step: width of a bucket.
        low: least that an architecture weighs.
        high: most.
    """

    def __init__(
        self, tables: Sequence[Tables], n_gates: int, step: int, low: int, high: int
    ) -> None:
        self._tables, self._step = tables, step
        self._range = (-(-low // step), high // step)
        totals, sides = [], []
        for gate in range(n_gates):
            here = [one.under(gate).distribution() for one in tables]
            number = 1
            for one in here:
                number *= sum(one.values())
            totals.append(number)
            sides.append(here)
        most = max(totals, default=0)
        self._under = [
            _under(total * _SHARES // most / _SHARES, here, step) if total else None
            for total, here in zip(totals, sides, strict=True)
        ]

    def draw(self, rng: random.Random) -> Architecture | None:
        """An architecture whose parts weigh so much together; ``None`` if there is none.

        One that several gates give is drawn as often as one of a single gate.
        """
        first, last = self._range
        masses = [
            0.0 if under is None else under.number * _mass(under, first, last)
            for under in self._under
        ]
        if not any(masses):
            return None
        while True:
            [gate] = rng.choices(range(len(masses)), masses)
            under = self._under[gate]
            assert under is not None, "it has no mass"
            methods: list[Configurable] = []
            gates = frozenset(range(len(masses)))
            left = (first, last)
            for tables, shares, behind in zip(
                self._tables, under.parts, under.behind, strict=True
            ):
                bucket = _bucket(rng, shares, behind, *left)
                left = (left[0] - bucket, left[1] - bucket)
                drawn, labels = tables.draw(rng, gate, bucket * self._step)
                methods += drawn
                gates &= labels
            if rng.random() * len(gates) < 1:
                return Architecture(*methods)


def _under(number: float, here: Sequence[Distribution], step: int) -> _Under:
    parts = [_shares(one, step) for one in here]
    behind = [np.ones(1)]
    for shares in reversed(parts[1:]):
        behind.insert(0, np.convolve(shares, behind[0]))
    return _Under(number, parts, behind)


def _shares(distribution: Distribution, step: int) -> NDArray[np.float64]:
    total = sum(distribution.values())
    shares = np.zeros(max(distribution) // step + 1)
    for weight, number in distribution.items():
        shares[weight // step] += number * _SHARES // total / _SHARES
    return shares


def _mass(under: _Under, first: int, last: int) -> float:
    return float(_following(under.parts[0], under.behind[0], first, last).sum())


def _bucket(
    rng: random.Random,
    shares: NDArray[np.float64],
    behind: NDArray[np.float64],
    first: int,
    last: int,
) -> int:
    masses = _following(shares, behind, first, last)
    return rng.choices(range(len(masses)), masses.tolist())[0]


def _following(
    shares: NDArray[np.float64], behind: NDArray[np.float64], first: int, last: int
) -> NDArray[np.float64]:
    """Share of each bucket of a part, times that of what brings the sum to ``first .. last``."""
    below = np.concatenate([[0.0], np.cumsum(behind)])
    buckets = np.arange(len(shares))
    upper = np.clip(last - buckets + 1, 0, len(behind))
    lower = np.clip(first - buckets, 0, len(behind))
    masses: NDArray[np.float64] = shares * np.maximum(below[upper] - below[lower], 0.0)
    return masses
