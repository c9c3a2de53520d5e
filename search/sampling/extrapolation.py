"""Values at the top rung predicted from those at lower rungs, by a ridge line.

What is predicted is how far a trial still moves, from what its rungs show, learnt from trials that
reached the top. Without any nothing is known of that, and values stay as they are. An objective
that never moves (a count of parameters) comes out unchanged, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1.0
"""The weight of the prior "all trials move alike", in trials, for each standardised column."""


class Extrapolation:
    """From the values at the rungs so far to those at the top.

    Args:
        n_rungs: at least 1, the top included.
    """

    def __init__(self, n_rungs: int) -> None:
        self._lines: list[_Line | None] = [None] * n_rungs

    def fit(self, histories: Sequence[Array]) -> None:
        """Learn from trials that reached the top; replaces what was learnt before.

        Args:
            histories: of each trial, shape (n_rungs, m); a row of NaN where a rung is not known.
                Trials with infinite values are left out.
        """
        for rung in range(len(self._lines) - 1):
            known = [h for h in histories if np.isfinite(h[[*range(rung + 1), -1]]).all()]
            self._lines[rung] = _Line(np.stack(known), rung) if known else None

    def predict(self, histories: Array) -> Array:
        """Values at the top of trials that stand at one rung.

        Args:
            histories: shape (n, rung + 1, m), all rungs up to the one where they stand.
        Returns:
            Shape (n, m). Where a history holds a value that is not finite, its last row.
        """
        last = histories[:, -1].copy()
        line = self._lines[histories.shape[1] - 1]
        if line is not None and len(last):
            usable = np.isfinite(histories).all(axis=(1, 2))
            last[usable] += line.moves(histories[usable])
        return np.asarray(last, dtype=np.float64)


class _Line:
    """How far trials still move from one rung on."""

    def __init__(self, histories: Array, rung: int) -> None:
        """Args: histories: shape (n, n_rungs, m), finite up to ``rung`` and at the top."""
        moved = histories[:, -1] - histories[:, rung]
        columns = _columns(histories[:, : rung + 1])
        self._centre = columns.mean(axis=0)
        spread = columns.std(axis=0)
        self._scale = np.where(spread > 1e-12 * (1 + np.abs(self._centre)), spread, np.inf)
        standard = (columns - self._centre) / self._scale
        self._mean = moved.mean(axis=0)
        normal = standard.T @ standard + RIDGE * np.eye(standard.shape[1])
        self._slopes = np.linalg.solve(normal, standard.T @ (moved - self._mean))
        still = (moved == 0).all(axis=0)
        self._mean[still] = 0.0
        self._slopes[:, still] = 0.0

    def moves(self, histories: Array) -> Array:
        standard = (_columns(histories) - self._centre) / self._scale
        # beyond what was seen, a line through few trials says nothing
        return np.asarray(self._mean + np.clip(standard, -3, 3) @ self._slopes)


def _columns(histories: Array) -> Array:
    """Everything that the rungs show, shape (n, rungs * m); counts by their logarithm."""
    flat = histories.reshape(len(histories), histories.shape[1] * histories.shape[2])
    return np.asarray(np.sign(flat) * np.log1p(np.abs(flat)))
