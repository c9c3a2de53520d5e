"""The symmetric-log axis of counts: logarithmic, yet with a place for 0."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_LARGEST_LINEAR = 100.0
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Symlog:
    """x -> sign(x) log10(1 + |x| / linear): about linear up to ``linear``, decades beyond.

    Plotly's own log axis cannot show 0 (the bare head trains no parameter of the backbone), so
    the figures plot transformed values under tick labels of their own.

    Attributes:
        linear: where the linear part ends; above 0.
    """

    linear: float = _LARGEST_LINEAR

    @classmethod
    def of(cls, values: Iterable[float]) -> Symlog:
        """The axis for these values: the linear part ends at a power of ten below all of them."""
        smallest = min((abs(value) for value in values if value), default=_LARGEST_LINEAR)
        return cls(min(_LARGEST_LINEAR, 10.0 ** math.floor(math.log10(smallest))))

    def __call__(self, value: float) -> float:
        """The place of ``value`` on the axis."""
        return math.copysign(math.log10(1.0 + abs(value) / self.linear), value)

    def ticks(self, largest: float) -> tuple[list[float], list[str]]:
        """Places and labels of 0 and of the powers of ten from ``linear`` to about ``largest``."""
        top = math.ceil(math.log10(max(largest, self.linear)))
        values = [0.0] + [10.0**power for power in range(round(math.log10(self.linear)), top + 1)]
        return [self(value) for value in values], [short(value) for value in values]


def short(value: float) -> str:
    """A number in few characters: 0, 850, 9.2k, 298k, 10.6M."""
    for size, prefix in _PREFIXES:
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"
