"""A Gaussian process for some hundred points: Matern 5/2, one length for each parameter.

Written out because a proposal may take milliseconds: distances are kept for each parameter, so one
step of the fit is a few products of matrices, and its gradient is exact.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, chapter 5; lengths
that grow with the number of parameters: Hvarfner et al., Vanilla Bayesian Optimization Performs
Great in High Dimensions, ICML 2024.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]
_JITTER = 1e-8


class GaussianProcess:
    """Values over points, with what is linear in known features.

    ``fit`` starts where the last one ended.

    Args:
        groups: shape (d,), the parameter that each column of a point belongs to, from 0 without
            gaps. Columns of one parameter share a length.
        noise: prior of the noise's standard deviation, as a part of the values' own.
    """

    def __init__(self, groups: NDArray[np.int64], noise: float = 0.1) -> None:
        self._groups = groups
        self._n_groups = int(groups.max()) + 1 if len(groups) else 0
        self._prior = np.concatenate(
            (
                np.full(self._n_groups, math.log(0.5 * math.sqrt(max(1, self._n_groups)))),
                [0.0, math.log(noise)],
            )
        )
        self._spread = np.concatenate((np.full(self._n_groups, 1.0), [1.0, 1.5]))
        self._at = self._prior.copy()

    def fit(
        self,
        x: Array,
        y: Array,
        features: Array | None = None,
        steps: int = 25,
        standardise: bool = True,
    ) -> None:
        """Find the lengths, and condition on the values.

        Args:
            x: shape (n, d), n at least 1.
            y: shape (n,), finite.
            features: shape (n, q), about standardised; what is linear in them is learnt apart.
            steps: of the search for lengths; 0 keeps those of the last fit.
            standardise: whether to bring the values to mean 0 and deviation 1 first.
        """
        self._x, self._f = x, _features(features, len(x))
        self._mean, self._scale = 0.0, 1.0
        if standardise:
            self._mean, self._scale = float(y.mean()), float(y.std()) or 1.0
        target = (y - self._mean) / self._scale
        squares = self._squares(x, x)
        linear = self._f @ self._f.T
        if steps and len(x) > 2:
            found = minimize(
                self._loss,
                self._at,
                args=(squares, linear, target),
                jac=True,
                method="L-BFGS-B",
                bounds=[
                    (p - 4 * s, p + 4 * s) for p, s in zip(self._prior, self._spread, strict=True)
                ],
                options={"maxiter": steps},
            )
            self._at = found.x
        kernel = self._kernel(squares)[0].reshape(linear.shape) + linear
        kernel[np.diag_indices_from(kernel)] += math.exp(2 * self._at[-1]) + _JITTER
        self._factor = cho_factor(kernel, lower=True)
        self._alpha = cho_solve(self._factor, target)

    def predict(self, x: Array, features: Array | None = None) -> tuple[Array, Array]:
        """Mean and standard deviation of the values without noise.

        Args:
            x: shape (k, d).
            features: shape (k, q), as in :meth:`fit`.
        """
        f = _features(features, len(x))
        cross = self._kernel(self._squares(x, self._x))[0].reshape(len(x), len(self._x))
        cross += f @ self._f.T
        mean = cross @ self._alpha
        half = solve_triangular(self._factor[0], cross.T, lower=True)
        own = math.exp(2 * self._at[-2]) + (f**2).sum(axis=1)
        variance = np.maximum(own - (half**2).sum(axis=0), 1e-12)
        return self._mean + self._scale * mean, self._scale * np.sqrt(variance)

    @property
    def noise(self) -> float:
        """Standard deviation of what is no function of point and features."""
        return self._scale * math.exp(self._at[-1])

    @property
    def weights(self) -> Array:
        """Shape (q,): what the values rise by with each feature."""
        return np.asarray(self._scale * (self._f.T @ self._alpha))

    def _squares(self, a: Array, b: Array) -> Array:
        """Squared distances in each parameter, shape (groups, len(a) * len(b))."""
        found = np.zeros((self._n_groups, len(a), len(b)))
        for column, group in enumerate(self._groups):
            found[group] += (a[:, column][:, None] - b[:, column][None]) ** 2
        return found.reshape(self._n_groups, -1)

    def _kernel(self, squares: Array) -> tuple[Array, Array]:
        """The kernel and its derivative by the squared distance, shape of a row of squares."""
        distance = np.sqrt(5 * (np.exp(-2 * self._at[:-2]) @ squares))
        decay = math.exp(2 * self._at[-2]) * np.exp(-distance)
        return (1 + distance + distance**2 / 3) * decay, -5 / 6 * (1 + distance) * decay

    def _loss(self, at: Array, squares: Array, linear: Array, y: Array) -> tuple[float, Array]:
        """Negative logarithm of likelihood and prior, and its gradient."""
        self._at = at
        kernel, slope = self._kernel(squares)
        kernel = kernel.reshape(linear.shape)
        full = kernel + linear
        noise = math.exp(2 * at[-1])
        full[np.diag_indices_from(full)] += noise + _JITTER
        factor = cho_factor(full, lower=True, overwrite_a=True)
        alpha = cho_solve(factor, y)
        inverse = cho_solve(factor, np.eye(len(y)))
        away = (at - self._prior) / self._spread
        loss = 0.5 * float(y @ alpha) + float(np.log(np.diag(factor[0])).sum())
        weight = 0.5 * (inverse - np.outer(alpha, alpha))
        gradient = np.empty_like(at)
        gradient[:-2] = -2 * np.exp(-2 * at[:-2]) * (squares @ (weight.ravel() * slope))
        gradient[-2] = 2 * float((weight * kernel).sum())
        gradient[-1] = 2 * noise * float(np.trace(weight))
        return loss + 0.5 * float(away @ away), gradient + away / self._spread


def _features(features: Array | None, n: int) -> Array:
    return np.empty((n, 0)) if features is None else features
