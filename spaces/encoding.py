"""A point as a fixed-length vector: one column for each dimension, NaN where it is inactive.

The columns are ``BoundSpace.dimensions()``, in that order. In each, equal lengths of [0, 1] are
equally likely under the domain: a ``Real`` runs linearly (or in the logarithm) from low to high;
the n values of an ``Integer`` or a ``Choice`` share [0, 1] in n equal parts, in order, and stand
at their middle; with ``log`` an ``Integer`` v takes the part from log(v - 1/2) to log(v + 1/2).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.spaces.dimensions import Dimension
from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.tree import Ask, Choose, Primitive

_STEPS = 16


def to_unit(domain: Ask, value: Any) -> float:
    """Where ``value`` stands in [0, 1]."""
    match domain:
        case Real(low, high, log):
            unit = min(max(_between(value, low, high, log), 0.0), 1.0)
            near = (u for u in _neighbours(unit) if from_unit(domain, u) == value)
            return next(near, unit)
        case Integer(log=True) if len(domain) > 1:
            return _between(value, domain.low - 0.5, domain.high + 0.5, log=True)
        case Integer():
            return _middle(
                range(domain.low, domain.high + 1, domain.step).index(value), len(domain)
            )
        case Choice():
            options = [(type(option), option) for option in domain.options]
            return _middle(options.index((type(value), value)), len(options))


def from_unit(domain: Ask, unit: float) -> Any:
    """The value at ``unit`` in [0, 1]; the inverse of :func:`to_unit`."""
    if isinstance(domain, Choice):
        return domain.options[_part(unit, len(domain.options))]
    if isinstance(domain, Real):
        low, high = domain.low, domain.high
        value = low * (high / low) ** unit if domain.log else low + unit * (high - low)
        return float(min(max(value, low), high))
    if domain.log:
        low, high = domain.low - 0.5, domain.high + 0.5
        return min(max(round(low * (high / low) ** unit), domain.low), domain.high)
    return domain.low + domain.step * _part(unit, len(domain))


def encode(columns: Sequence[Dimension], values: Mapping[str, Primitive]) -> NDArray[np.float64]:
    """The vector of raw values by path.

    Returns:
        Shape (number of columns,), in [0, 1], NaN where a dimension has no value.
    """
    return np.array(
        [
            to_unit(column.domain, values[column.path]) if column.path in values else math.nan
            for column in columns
        ],
        dtype=np.float64,
    )


def decoder(columns: Sequence[Dimension], vector: Sequence[float] | NDArray[Any]) -> Choose:
    """Answers the walk's questions from a vector; columns that are not asked are ignored.

    Raises:
        ValueError: if the length is wrong, or a column that is asked is not in [0, 1].
    """
    if len(vector) != len(columns):
        raise ValueError(
            f"a vector of this space must have {len(columns)} columns, got {len(vector)}; see "
            "dimensions()"
        )
    units = {column.path: float(unit) for column, unit in zip(columns, vector, strict=True)}

    def choose(path: str, domain: Ask) -> Any:
        unit = units[path]
        if not 0 <= unit <= 1:
            raise ValueError(
                f"column {path} is active here and must be in [0, 1], got {unit}; fill it in"
            )
        return from_unit(domain, unit)

    return choose


def _between(value: float, low: float, high: float, log: bool) -> float:
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _neighbours(unit: float) -> Iterator[float]:
    """Floats next to ``unit`` in [0, 1], nearest first: rounding may have missed the right one."""
    below = above = unit
    yield unit
    for _ in range(_STEPS):
        below, above = math.nextafter(below, 0.0), math.nextafter(above, 1.0)
        yield below
        yield above


def _middle(index: int, n: int) -> float:
    return (index + 0.5) / n


def _part(unit: float, n: int) -> int:
    part = int(unit * n)
    return part if part < n else n - 1
