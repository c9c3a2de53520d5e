"""How much a point is expected to add to a hypervolume, when only predictions of it are known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import qmc

from peftnas.search.pareto import non_dominated

Array = NDArray[np.float64]
_TESTS = 4096


class ExpectedGain:
    """Expected gain of hypervolume over a front; everything is minimised.

    Of two objectives it is exact: between two neighbours on the front, the area that a candidate
    covers is a product of its expected parts along both axes. Of more, it is the mean over 4,096
    spread test points of the chance that the candidate covers one that the front leaves open.

    Args:
        front: shape (n, m), points that are there already; may be empty, m at least 1.
        low: shape (m,), nothing is expected to be better; only used for m > 2.
        high: shape (m,), the reference; what is worse adds nothing.
        seed: of the test points.
    """

    def __init__(self, front: Array, low: Array, high: Array, seed: int = 0) -> None:
        best = np.minimum(front, high).reshape(-1, len(high))
        best = np.unique(best[non_dominated(best)], axis=0)  # by the first objective
        self._tests = None
        if len(high) == 1:
            best = np.column_stack([best, np.zeros(len(best))])
            self._ends, self._tops = np.append(best[:1, 0], high)[:1], np.zeros(1)
        elif len(high) == 2:
            self._ends = np.append(best[:, 0], high[0])
            self._tops = np.append(high[1], best[:, 1])
        else:
            tests = low + qmc.Sobol(len(low), seed=seed).random(_TESTS) * (high - low)
            open_ = np.ones(len(tests), dtype=bool)
            for point in best:
                open_ &= (tests < point).any(axis=1)
            self._tests = tests[open_]

    def __call__(self, mean: Array, deviation: Array) -> Array:
        """Expected gain of each candidate.

        Args:
            mean: shape (k, m).
            deviation: shape (k, m), at least 0; objectives count as independent.
        """
        if mean.shape[1] == 1:
            return _covered(self._ends, mean[:, 0], deviation[:, 0])[:, 0]
        if self._tests is None:
            along = _covered(self._ends, mean[:, 0], deviation[:, 0])
            widths = np.diff(along, axis=1, prepend=0.0)
            heights = _covered(self._tops, mean[:, 1], deviation[:, 1])
            return np.asarray((widths * heights).sum(axis=1))
        chance = np.ones((len(mean), len(self._tests)))
        for column in range(mean.shape[1]):
            scale = np.maximum(deviation[:, column, None], _LEAST)
            chance *= ndtr((self._tests[None, :, column] - mean[:, column, None]) / scale)
        return np.asarray(chance.sum(axis=1) / _TESTS)


_LEAST = 1e-9


def _covered(ends: Array, mean: Array, deviation: Array) -> Array:
    """Expected length from a normal value up to each end, 0 beyond it; shape (k, ends)."""
    scale = np.maximum(deviation, _LEAST)[:, None]
    away = (ends[None] - mean[:, None]) / scale
    density = np.exp(-0.5 * away**2) / math.sqrt(2 * math.pi)
    return np.asarray(scale * (away * ndtr(away) + density))
