"""One objective from rung to rung: what trials will show at the top, and what new points would.

At the lowest rung the values are a Gaussian process over the points. From each rung to the next,
they are linear in what the process says of the point and in how far the trial is from that, plus
another process over the points for what moves some kinds of points more than others. A trial with
noisy steps so borrows from its neighbours, and a point never tried is predicted by the same chain.

Source: recursive co-kriging; Le Gratiet and Garnier, Recursive Co-kriging Model for Design of
Computer Experiments with Multiple Levels of Fidelity, IJUQ 2014.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peftnas.search.sampling.gaussian_process import GaussianProcess

Array = NDArray[np.float64]

# before there are pairs of rungs: how much of the process, and of a trial's own distance from it,
# is found again at the next rung; in standard deviations, with what these may be wrong by
_KEPT = (0.8, 0.4)
_WRONG = 0.4
_UNKNOWN = 0.7
_GROWTH = 1.15
"""Lengths are fitted anew when a rung has so many times the results of the last fit."""


class Fidelities:
    """One objective at all rungs.

    Args:
        groups: of columns, see ``GaussianProcess``.
        n_rungs: at least 1.
        exact: whether values are the same at all rungs, as a count of parameters is.
    """

    def __init__(self, groups: NDArray[np.int64], n_rungs: int, exact: bool = False) -> None:
        noises = [0.1, *[0.2] * (n_rungs - 1)]
        self._processes = [GaussianProcess(groups, noise) for noise in noises]
        self._fitted_at = [0] * n_rungs
        self._known = [0] * n_rungs
        self._exact = exact

    def fit(self, x: Array, values: Array) -> None:
        """Learn from trials; each has values from the lowest rung up to where it stands.

        Args:
            x: shape (n, d), encoded points.
            values: shape (n, n_rungs), NaN above where a trial stands; some are known.
        """
        known = ~np.isnan(values)
        lowest = known[:, 0]
        first = values[lowest, 0]
        self._mean, self._scale = float(first.mean()), float(first.std()) or 1.0
        steps = self._steps(0, len(first))
        if steps or not self._exact:
            self._processes[0].fit(x[lowest], first, steps=steps)
        for rung in range(1, 1 if self._exact else values.shape[1]):
            pairs = known[:, rung] & known[:, rung - 1]
            self._known[rung] = int(pairs.sum())
            if self._known[rung]:
                features, expected = self._features(x[pairs], values[pairs, rung - 1])
                moved = (values[pairs, rung] - self._mean) / self._scale - expected
                steps = self._steps(rung, self._known[rung]) if self._known[rung] > 3 else 0
                self._processes[rung].fit(x[pairs], moved, features, steps, standardise=False)

    def predict(self, x: Array, values: Array) -> tuple[Array, Array]:
        """Mean and standard deviation at the top.

        Args:
            x: shape (k, d).
            values: shape (k, n_rungs), NaN above where a trial stands; all NaN: a new point.
        """
        known = ~np.isnan(values)
        stands = np.where(
            known.any(axis=1), values.shape[1] - 1 - np.argmax(known[:, ::-1], 1), -1
        )
        mean, variance = np.zeros(len(x)), np.zeros(len(x))
        new = stands < 0
        if new.any():
            mean[new], deviation = self._processes[0].predict(x[new])
            noise = 0.0 if self._exact else self._processes[0].noise
            variance[new] = deviation**2 + noise**2
        for rung in range(values.shape[1]):
            at = stands == rung
            mean[at] = values[at, rung]
            below = stands < rung
            if rung and below.any() and not self._exact:
                mean[below], variance[below] = self._rise(
                    x[below], mean[below], variance[below], rung
                )
        return mean, np.sqrt(variance)

    def _steps(self, rung: int, n: int) -> int:
        """Of the search for lengths; 0 while little has come since the last one."""
        if n < _GROWTH * self._fitted_at[rung] and n >= 12:
            return 0
        self._fitted_at[rung] = n
        return 25

    def _features(self, x: Array, before: Array) -> tuple[Array, Array]:
        """What the next rung is linear in, shape (n, 3), and what is expected of it at first."""
        smooth, _ = self._processes[0].predict(x)
        process, own = (smooth - self._mean) / self._scale, (before - smooth) / self._scale
        features = np.stack([np.ones(len(x)), _WRONG * process, _WRONG * own], axis=1)
        return features, _KEPT[0] * process + _KEPT[1] * own

    def _rise(self, x: Array, mean: Array, variance: Array, rung: int) -> tuple[Array, Array]:
        """From the rung below: mean and variance."""
        features, expected = self._features(x, mean)
        if not self._known[rung]:
            spread = (_UNKNOWN * self._scale) ** 2
            return self._mean + self._scale * expected, variance / 2 + spread
        process = self._processes[rung]
        moved, deviation = process.predict(x, features)
        slope = _KEPT[1] + _WRONG * float(process.weights[2])
        own = self._scale**2 * (deviation**2 + process.noise**2)
        return self._mean + self._scale * (expected + moved), own + slope**2 * variance
