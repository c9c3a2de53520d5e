"""Parameters of trials as rows of numbers, for models that measure distances."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

Array = NDArray[np.float64]
INACTIVE = 0.5


class Encoding:
    """One column for a number, one for each option of a choice.

    A number lies in [0, 1] on its own scale, in the middle where it is not active. Two different
    options of a choice lie one apart.

    Args:
        distributions: of every parameter that a trial may have.
    Attributes:
        groups: shape (columns,), the parameter that each column belongs to, from 0.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self.names = tuple(sorted(distributions))
        self._distributions = dict(distributions)
        widths = [_width(distributions[name]) for name in self.names]
        self.groups = np.repeat(np.arange(len(widths)), widths)
        self._starts = np.concatenate(([0], np.cumsum(widths))).astype(int)[:-1]

    def __call__(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Shape (n, columns) of n points, each the parameters that are active there."""
        rows = np.zeros((len(points), len(self.groups)))
        for name, start in zip(self.names, self._starts, strict=True):
            distribution = self._distributions[name]
            if isinstance(distribution, CategoricalDistribution):
                for row, point in enumerate(points):
                    if name in point:
                        rows[row, start + int(distribution.to_internal_repr(point[name]))] = _APART
            else:
                rows[:, start] = [
                    position(point[name], distribution) if name in point else INACTIVE
                    for point in points
                ]
        return rows


def position(value: float, distribution: Any) -> float:
    """Where a number lies between the ends of its domain, from 0 to 1, on the domain's scale."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else INACTIVE


_APART = math.sqrt(0.5)


def _width(distribution: BaseDistribution) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return 1
