"""Architectures drawn from a census: each equally likely among those with so many parameters."""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.joint import JointTables
from peftnas.spaces.sizes.tables import Tables
from peftnas.spaces.sizes.tally import Cumulated, Distribution, combine


class Spread:
    """Draws architectures.

    Words are counted exactly: their numbers grow beyond what floating point numbers tell apart.

    Args:
        tables: of each part; their weights are multiples of ``step``.
        n_gates: values of the tied gate.
        step: width of a bucket.
        low: least that an architecture weighs.
        high: most.
    """

    def __init__(
        self, tables: Sequence[Tables | JointTables], n_gates: int, step: int, low: int, high: int
    ) -> None:
        self._tables, self._step = tables, step
        first, last = -(-low // step), high // step
        sides = ([one.under(gate).distribution() for one in tables] for gate in range(n_gates))
        self._under = [
            _Under([_bucketed(one, step) for one in side], first, last) for side in sides
        ]
        self._gates = [*itertools.accumulate(under.number for under in self._under)]

    def draw(self, rng: random.Random) -> Architecture | None:
        """An architecture whose parts weigh so much together; ``None`` if there is none.

        One that several gates give is drawn as often as one of a single gate.
        """
        if not self._gates[-1]:
            return None
        while True:
            gate = _index(rng, self._gates)
            methods: list[Configurable] = []
            gates = frozenset(range(len(self._under)))
            buckets = self._under[gate].draw(rng)
            for tables, bucket in zip(self._tables, buckets, strict=True):
                drawn, labels = tables.draw(rng, gate, bucket * self._step)
                methods += drawn
                gates &= labels
            if rng.random() * len(gates) < 1:
                return Architecture(*methods)


class _Under:
    """What one gate value gives: combinations of words, one of each part.

    Args:
        parts: of each, its words by buckets of weights.
        first: least bucket that a combination sums to.
        last: the largest.
    """

    def __init__(self, parts: Sequence[Distribution], first: int, last: int) -> None:
        self._parts = [sorted(part.items()) for part in parts]
        self._range = (first, last)
        # of all parts behind one, together
        behind: list[Distribution] = [{0: 1}]
        for part in reversed(parts[1:]):
            behind.insert(0, combine(part, behind[0], last))
        self._behind = [Cumulated(one) for one in behind]

    @property
    def number(self) -> int:
        """How many combinations there are."""
        return self._first[-1] if self._first else 0

    def draw(self, rng: random.Random) -> list[int]:
        """The buckets of one of them."""
        first, last = self._range
        found: list[int] = []
        for index, part in enumerate(self._parts):
            sums = self._sums(index, first, last) if index else self._first
            bucket = part[_index(rng, sums)][0]
            first, last = first - bucket, last - bucket
            found.append(bucket)
        return found

    @cached_property
    def _first(self) -> list[int]:
        return self._sums(0, *self._range)

    def _sums(self, index: int, first: int, last: int) -> list[int]:
        """Words up to each bucket of a part, times what behind it sums to ``first .. last``."""
        within = self._behind[index].within
        return [
            *itertools.accumulate(
                number * (within(last - bucket) - within(first - bucket - 1))
                for bucket, number in self._parts[index]
            )
        ]


def _bucketed(distribution: Distribution, step: int) -> Distribution:
    return {weight // step: number for weight, number in distribution.items()}


def _index(rng: random.Random, sums: Sequence[int]) -> int:
    """An index, drawn in proportion to (arbitrarily large) numbers, given summed up."""
    return bisect_right(sums, rng.randrange(sums[-1]))
