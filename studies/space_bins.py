"""Bins of about one ratio whose edges read well, and text bars over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from peftnas.spaces.sizes.size import Size

# edges in a decade, from fine to coarse
_SERIES: tuple[tuple[float, ...], ...] = (
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    (1, 1.5, 2, 3, 5, 7),
    (1, 2, 5),
    (1, 3),
    (1,),
)
_MOST_BINS = 14
_WIDTH = 30  # characters of the longest bar
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LONG = 10**15  # numbers from here on are shown by their first digits


def bin_edges(low: int, high: int) -> list[int]:
    """Where bins over ``low .. high`` start: ``low`` itself, then round numbers.

    Args:
        low: at least 1.
        high: at least ``low``.
    """
    for series in _SERIES:
        decades = range(len(str(low)) - 1, len(str(high)))
        inner = [round(step * 10**decade) for decade in decades for step in series]
        # a first bin much narrower than the others would look like a gap
        edges = [low, *sorted({edge for edge in inner if 1.15 * low < edge <= high})]
        if len(edges) <= _MOST_BINS:
            return edges
    every = -(-len(edges) // _MOST_BINS)  # more decades than bins
    return edges[::every]


def bars(numbers: Sequence[int]) -> tuple[list[str], str]:
    """A text bar for each number, and what one block of it means.

    Numbers of one size have bars of their own length, those of many sizes of their logarithm.
    """
    some = [number for number in numbers if number > 0]
    if not some:
        return ["" for _ in numbers], ""
    most = max(some)
    if most <= 100 * min(some):
        unit = next(
            step * 10**decade
            for decade in range(len(str(most)) + 1)
            for step in (1, 2, 5)
            if most <= _WIDTH * step * 10**decade
        )
        lengths = [number / unit for number in numbers]
        return [_bar(length) for length in lengths], f"each █ is {unit:,}"
    decades = math.log10(most) + 1  # 1 of them has a bar too
    blocks = next((some for some in (8, 6, 4, 3, 2) if some * decades <= _WIDTH), 1)
    powers = math.ceil(blocks * decades / _WIDTH)
    lengths = [(math.log10(number) + 1) * blocks / powers if number else 0.0 for number in numbers]
    times = "ten" if powers == 1 else f"{10**powers:,}" if powers <= 3 else f"10^{powers}"
    said = f"a bar grows by {'█' * blocks} for {times} times as many"
    return [_bar(length) for length in lengths], said


def short(number: int) -> str:
    """All digits of a number, or its first ones: ``28,074,648,612,420``, ``2.19e40``."""
    if number < _LONG:
        return f"{number:,}"
    digits, exponent = f"{Decimal(number):.2e}".split("e")
    return f"{digits}e{int(exponent)}"


def share(some: Size, all_of_them: Size) -> str:
    """The part of all in percent; a dash where either is not known exactly."""
    if not some.exact or not all_of_them.exact or not all_of_them.low:
        return "-"
    hundredths = Fraction(10_000 * some.low, all_of_them.low)
    if some.low and hundredths < 1:
        return "< 0.01 %"
    return f"{float(hundredths) / 100:.3g} %"


def _bar(length: float) -> str:
    whole, eighth = divmod(round(8 * length), 8)
    if length > 0 and not whole and not eighth:
        eighth = 1
    return "█" * whole + _EIGHTHS[eighth].strip()
