"""How well each rung tells who wins at the top, measured on a study; and where trials start.

Only promoted trials reach the top, and these are alike, so what is measured lies below the
correlation over all trials. A rung is left out only when even so many pairs show hardly any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

LEAST_PAIRS = 12
"""Trials with both results before a rung is judged."""

LOW = 0.2
"""Below it, a rung says too little to start there."""


def correlations(results: Sequence[Mapping[int, Sequence[float]]]) -> list[tuple[float, ...]]:
    """Spearman's rank correlation of each rung with the top, for each objective.

    Args:
        results: for each rung, lowest first, the points by trial (``Ladder.results``).
    Returns:
        For each rung one number an objective, NaN with fewer than 2 pairs or equal values; the
        last rung's are 1. Nothing at all while no trial reached the top.
    """
    top = results[-1]
    if not top:
        return [()] * len(results)
    width = len(next(iter(top.values())))
    found = []
    for rung in results:
        both = sorted(rung.keys() & top.keys())
        low = np.asarray([rung[trial] for trial in both]).reshape(-1, width)
        high = np.asarray([top[trial] for trial in both]).reshape(-1, width)
        found.append(tuple(_spearman(low[:, i], high[:, i]) for i in range(width)))
    return found


def first_rung(results: Sequence[Mapping[int, Sequence[float]]]) -> int:
    """The rung that new trials train to first: the lowest that is not known to say too little.

    A rung says too little if an objective's correlation with the top is below 0.2 over at least
    12 trials. The rung below the top is never left out.

    Args:
        results: as for :func:`correlations`.
    """
    measured = correlations(results)
    for rung in range(len(results) - 2):
        pairs = len(results[rung].keys() & results[-1].keys())
        if pairs < LEAST_PAIRS or not any(value < LOW for value in measured[rung]):
            return rung
    return max(0, len(results) - 2)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 2:
        return math.nan
    a, b = rankdata(a) - (len(a) + 1) / 2, rankdata(b) - (len(b) + 1) / 2
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else math.nan
