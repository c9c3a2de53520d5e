"""How many outcomes have how many trainable parameters, for parts and for what they combine to."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

Distribution = dict[int, int]
"""Trainable parameters -> number of outcomes."""

_PRODUCTS = 2_000_000
_FEW = 1_000
"""Combinations of counts that are quickly done one by one."""

_DENSE = 2
"""Combinations for each possible sum, from which on all sums are worked out at once."""


def add(*parts: Distribution) -> Distribution:
    """Outcomes of either part."""
    total: Distribution = {}
    for part in parts:
        for count, number in part.items():
            total[count] = total.get(count, 0) + number
    return total


def combine(one: Distribution, other: Distribution, budget: int | None) -> Distribution:
    """Outcomes of both parts together; those over ``budget`` are left out."""
    if len(one) * len(other) > _FEW:
        step = math.gcd(*one, *other) or 1
        slots = (max(one) + max(other)) // step + 1
        if slots * _DENSE <= len(one) * len(other):
            return _product(one, other, step, slots, budget)
    total: Distribution = {}
    for a, n in one.items():
        for b, m in other.items():
            if budget is None or a + b <= budget:
                total[a + b] = total.get(a + b, 0) + n * m
    return total


def _product(
    one: Distribution, other: Distribution, step: int, slots: int, budget: int | None
) -> Distribution:
    """:func:`combine` where all counts are multiples of ``step`` and most multiples occur.

    Both are polynomials in ``step``; they are written as one long number each, whose product
    holds all coefficients of theirs (Kronecker's substitution).
    """
    width = (sum(one.values()) * sum(other.values())).bit_length() // 8 + 1
    whole = (_packed(one, step, width) * _packed(other, step, width)).to_bytes(
        slots * width, "little"
    )
    within = slots if budget is None else min(slots, budget // step + 1)
    total: Distribution = {}
    for slot in range(within):
        number = int.from_bytes(whole[slot * width : (slot + 1) * width], "little")
        if number:
            total[slot * step] = number
    return total


def _packed(part: Distribution, step: int, width: int) -> int:
    text = bytearray((max(part) // step + 1) * width)
    for count, number in part.items():
        start = count // step * width
        text[start : start + width] = number.to_bytes(width, "little")
    return int.from_bytes(text, "little")


def number_within(parts: Iterable[Distribution], budget: int | None) -> tuple[int, int]:
    """How many combinations of one outcome of each part stay within ``budget``.

    Returns:
        Bounds, equal unless the parts have so many different counts that they had to be rounded.
    """
    parts = list(parts)
    if budget is None:
        number = 1
        for part in parts:
            number *= sum(part.values())
        return number, number
    halves = _halves(parts, budget)
    if halves is None:
        coarse = [max(budget // 400, 1) * up for up in (1, -1)]
        low, high = (
            number_within([_rounded(part, step) for part in parts], budget)[0] for step in coarse
        )
        return low, high
    number = Together(*halves).within(budget)
    return number, number


class Cumulated:
    """How many outcomes have at most so many parameters."""

    def __init__(self, counts: Distribution) -> None:
        self._counts = sorted(counts)
        self._below = [0, *accumulate(counts[count] for count in self._counts)]

    def within(self, most: int) -> int:
        """The number of them."""
        return self._below[bisect_right(self._counts, most)]


class Together:
    """The same of one outcome of each of two parts, without listing their combinations."""

    def __init__(self, one: Distribution, other: Distribution) -> None:
        self._one, self._other = one, Cumulated(other)

    def within(self, most: int) -> int:
        """The number of them."""
        return sum(n * self._other.within(most - count) for count, n in self._one.items())


def together(parts: Sequence[Distribution], most: int) -> Together | None:
    """One outcome of each part, with up to ``most`` parameters; ``None``: too much work."""
    halves = _halves(parts, most)
    return None if halves is None else Together(*halves)


def extremes(parts: Iterable[Distribution], budget: int | None) -> tuple[int, int] | None:
    """Smallest and largest count within ``budget`` of any combination; ``None`` if not known."""
    parts = list(parts)
    if not all(parts):
        return None
    low = sum(min(part) for part in parts)
    high = sum(max(part) for part in parts)
    if budget is None or high <= budget:
        return low, high
    halves = _halves(parts, budget)
    if halves is None or low > budget:
        return None
    left, right = halves
    counts = sorted(right)
    fitting = [(a, bisect_right(counts, budget - a)) for a in left]
    return low, max(a + counts[i - 1] for a, i in fitting if i)


def _halves(
    parts: Sequence[Distribution], budget: int
) -> tuple[Distribution, Distribution] | None:
    """Two distributions that together stand for all parts; ``None`` when that is too much work."""
    halves: list[Distribution] = [{0: 1}, {0: 1}]
    for part in sorted(parts, key=len, reverse=True):
        smaller = 0 if len(halves[0]) <= len(halves[1]) else 1
        if len(halves[smaller]) * len(part) > _PRODUCTS:
            return None
        halves[smaller] = combine(halves[smaller], part, budget)
    return halves[0], halves[1]


def _rounded(part: Distribution, step: int) -> Distribution:
    """Counts rounded up to multiples of ``step``, or down for a negative step."""
    size = abs(step)
    total: Distribution = {}
    for count, number in part.items():
        near = -(-count // size) * size if step > 0 else count // size * size
        total[near] = total.get(near, 0) + number
    return total
