"""What every trial of a view would show at the top, and what points never tried would.

One model an objective (:mod:`fidelities`). Objectives that are exact before training are learnt
first; the others get them as a further coordinate, since how large an architecture is says much of
how fast it learns. Values are brought to units first: smaller is better, 0 and 1 are the ends of
what was seen, counts over several magnitudes by their logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from peftnas.search.pareto import ranks
from peftnas.search.sampling.encoding import Encoding
from peftnas.search.sampling.fidelities import Fidelities

if TYPE_CHECKING:
    from peftnas.search.sampling.seen import Seen
    from peftnas.search.sampling.view import SamplerView

Array = NDArray[np.float64]

LEARNT_FROM = 300
"""Trials that a model is made of: above it, the best ones and a spread of the others."""
_CHUNK = 1000
_WIDE = 50.0


class Forecasts:
    """Predictions at the top, for one view.

    Args:
        view: whose trials are learnt from.
        exact: which objectives are the same at all rungs.
    """

    def __init__(self, view: SamplerView, exact: Sequence[bool]) -> None:
        self._view = view
        self._exact = tuple(exact)
        self._signs = np.asarray([1.0 if way == "minimize" else -1.0 for way in view.directions])
        self._distributions: dict[str, BaseDistribution] = {}
        self._encoding = Encoding({})
        self._models: list[Fidelities] = []
        self._learnt = 0
        self._known: dict[int, tuple[int, Array, Array]] = {}

    @property
    def ready(self) -> bool:
        """Whether there is any result to learn from."""
        return any(seen.good for seen in self._view.seen.values())

    def of(self, numbers: Sequence[int]) -> tuple[Array, Array]:
        """Mean and deviation of trials, each of shape (n, m), in units, minimised.

        Args:
            numbers: of the first trainings; with or without results.
        """
        self._learn()
        seen = [self._view.seen[self._view.first(number)] for number in numbers]
        stale = [one for one in seen if self._known.get(one.trial_id, (-1,))[0] != one.n_results]
        if stale:
            values = self._units([self._history(one) for one in stale])
            means, deviations = self._predict(
                self._encoding([one.params for one in stale]), values
            )
            for one, mean, deviation in zip(stale, means, deviations, strict=True):
                self._known[one.trial_id] = one.n_results, mean, deviation
        found = [self._known[one.trial_id] for one in seen]
        shape = (len(found), len(self._exact))
        mean = np.asarray([one[1] for one in found]).reshape(shape)
        return mean, np.asarray([one[2] for one in found]).reshape(shape)

    def of_points(self, points: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
        """Mean and deviation of points that were never tried, as :meth:`of`."""
        self._learn()
        nothing = np.full((len(points), self._view.n_rungs, len(self._exact)), np.nan)
        return self._predict(self._encoding(points), nothing)

    def _learn(self) -> None:
        """Make the models anew when enough results came in: each one at first, then 2 in 100."""
        n = sum(seen.n_results for seen in self._view.seen.values())
        if n <= 1.02 * self._learnt:
            return
        self._learnt = n
        self._known.clear()
        told = [seen for seen in self._view.seen.values() if seen.told]
        self._set_units(np.stack([self._history(seen) for seen in told if seen.good]))
        self._encode(told)
        used = self._chosen(told)
        x = self._encoding([seen.params for seen in used])
        values = self._units([self._history(seen) for seen in used])
        coordinates = np.zeros((len(x), 0))
        for column in self._order:
            further = 0 if self._exact[column] else coordinates.shape[1]
            point = np.column_stack([x, coordinates[:, :further]])
            self._models[column].fit(point, values[:, :, column])
            if self._exact[column]:
                known, (mean, _) = (
                    values[:, 0, column],
                    self._models[column].predict(x, values[:, :, column]),
                )
                column_known = np.where(np.isnan(known), mean, known)
                coordinates = np.column_stack([coordinates, column_known])

    @property
    def _order(self) -> list[int]:
        """The objectives, exact ones first."""
        return sorted(range(len(self._exact)), key=lambda column: not self._exact[column])

    def _predict(self, x: Array, values: Array) -> tuple[Array, Array]:
        parts = [
            self._predict_some(x[start : start + _CHUNK], values[start : start + _CHUNK])
            for start in range(0, len(x), _CHUNK)
        ]
        empty = np.empty((0, len(self._exact)))
        return (
            np.concatenate([empty, *(mean for mean, _ in parts)]),
            np.concatenate([empty, *(deviation for _, deviation in parts)]),
        )

    def _predict_some(self, x: Array, values: Array) -> tuple[Array, Array]:
        mean, deviation = np.empty((2, len(x), len(self._exact)))
        coordinates = np.zeros((len(x), 0))
        for column in self._order:
            further = 0 if self._exact[column] else coordinates.shape[1]
            point = np.column_stack([x, coordinates[:, :further]])
            mean[:, column], deviation[:, column] = self._models[column].predict(
                point, values[:, :, column]
            )
            if self._exact[column]:
                coordinates = np.column_stack([coordinates, mean[:, column]])
        return mean, deviation

    def _encode(self, told: Sequence[Seen]) -> None:
        """A coordinate for each parameter; models start anew when one was not known before."""
        size = len(self._distributions)
        for seen in told:
            self._distributions.update(seen.distributions)
        if len(self._distributions) > size or not self._models:
            self._encoding = Encoding(self._distributions)
            groups = self._encoding.groups
            count = len(self._encoding.names)
            further = groups.tolist() + [count + i for i in range(sum(self._exact))]
            self._models = [
                Fidelities(groups, self._view.n_rungs, exact)
                if exact
                else Fidelities(np.asarray(further, dtype=int), self._view.n_rungs)
                for exact in self._exact
            ]

    def _chosen(self, told: list[Seen]) -> list[Seen]:
        """The trials to learn from: those that rose highest and stand best, a spread of others."""
        if len(told) <= LEARNT_FROM:
            return told
        histories = self._units([self._history(seen) for seen in told])
        known = ~np.isnan(histories[:, :, 0])
        stands = known.shape[1] - 1 - np.argmax(known[:, ::-1], axis=1)
        rank = ranks(histories[np.arange(len(told)), stands])
        order = np.lexsort((rank, -stands))
        first, others = order[: 2 * LEARNT_FROM // 3], order[2 * LEARNT_FROM // 3 :]
        spread = others[np.linspace(0, len(others) - 1, LEARNT_FROM // 3).astype(int)]
        return [told[i] for i in sorted({*first.tolist(), *spread.tolist()})]

    def _history(self, seen: Seen) -> Array:
        """Shape (n_rungs, m), NaN where nothing is known; a failure has the worst values."""
        if not seen.told:
            return np.full((self._view.n_rungs, len(self._exact)), np.nan)
        history = seen.history(self._view.n_rungs, len(self._exact))
        if not seen.good:
            failed = min(rung for one in seen.told for rung, v in one.rungs.items() if v is None)
            inexact = [column for column, exact in enumerate(self._exact) if not exact]
            history[failed:, inexact] = [self._view.worst[column] for column in inexact]
        return history

    def _set_units(self, histories: Array) -> None:
        flat = histories.reshape(-1, histories.shape[2])
        low, high = np.nanmin(flat, axis=0), np.nanmax(flat, axis=0)
        self._logs = (low > 0) & (high > _WIDE * low)
        ends = self._logarithms(self._signs * np.stack([low, high]))
        self._low, self._range = ends.min(axis=0), np.maximum(np.ptp(ends, axis=0), 1e-12)

    def _units(self, histories: Sequence[Array]) -> Array:
        points = self._logarithms(self._signs * np.stack(histories))
        return np.asarray((points - self._low) / self._range)

    def _logarithms(self, points: Array) -> Array:
        signed = np.sign(points) * np.log(np.where(points == 0, 1.0, np.abs(points)))
        return np.where(self._logs, signed, points)
