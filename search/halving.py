"""Successive halving over several objectives, asynchronous: who trains on, from points alone.

Every trial trains to the first rung. Of the results at a rung the best ``1 / reduction_factor``
are promoted: they train on to the next rung as soon as their place is certain, without waiting for
others (asynchronous). Best means: by the rank of fronts peeled off one after the other, within the
share; among those, the one that is expected to add most to the hypervolume of all that were
promoted so far, so that no part of the front is starved and none is crowded. Points are what the
rung shows, or better what it predicts for the top (:mod:`sampling.forecasts`).

Sources: Li et al., A System for Massively Parallel Hyperparameter Tuning, MLSys 2020 (asynchronous
halving); Schmucker et al., Multi-objective Asynchronous Successive Halving, 2021 (ranks and nets).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peftnas.search.errors import UsageError
from peftnas.search.pareto import ranks
from peftnas.search.sampling.gain import ExpectedGain

Array = NDArray[np.float64]
Forecast = Callable[[Sequence[int]], tuple[Array, Array]]
"""Of trials by number: predicted points at the top, minimised, and their standard deviations."""

_MARGIN = 0.1
"""How far the reference lies beyond the worst point, as a part of the range."""


@dataclass(frozen=True)
class Halving:
    """Stop trials early: each starts with few steps, and only the better ones train on.

    Args:
        min_steps: optimiser steps of the first rung; at least 1.
        reduction_factor: one of so many goes on from each rung, and each rung has so many times
            the steps of the one before; at least 2.
    Raises:
        UsageError: if one of these is broken.
    """

    min_steps: int
    reduction_factor: int = 3

    def __post_init__(self) -> None:
        for name, least in (("min_steps", 1), ("reduction_factor", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UsageError(
                    f"{name} of Halving must be a whole number >= {least}, got {value!r}; "
                    "take such as Halving(min_steps=20, reduction_factor=3)"
                )

    def rungs(self, max_steps: int) -> tuple[int, ...]:
        """The optimiser steps at which trials are compared, lowest first, ``max_steps`` last.

        Args:
            max_steps: of a trial that is never stopped.
        Raises:
            UsageError: if ``min_steps`` leaves no rung below ``max_steps``.
        """
        if self.min_steps >= max_steps:
            raise UsageError(
                f"min_steps of Halving must be below the {max_steps} steps of the recipe, got "
                f"{self.min_steps}; lower it, or leave halving out"
            )
        below = []
        steps = self.min_steps
        # a rung just below the top would cost nearly a whole trial and decide nothing
        while steps * math.sqrt(self.reduction_factor) <= max_steps:
            below.append(steps)
            steps *= self.reduction_factor
        return (*(below or [self.min_steps]), max_steps)


@dataclass(frozen=True)
class Promotion:
    """A trial that trains on.

    Attributes:
        trial: its number.
        rung: that it trains to, counted from 0.
    """

    trial: int
    rung: int


class Ladder:
    """What trials reached at each rung, and who is promoted.

    Results may come in any order, more than once, and after a restart. Of ``n`` results at a rung
    at most ``n / reduction_factor`` are promoted, and no trial twice.

    Args:
        n_rungs: at least 2, the top included.
        reduction_factor: at least 2.
    """

    def __init__(self, n_rungs: int, reduction_factor: int) -> None:
        if n_rungs < 2 or reduction_factor < 2:
            raise ValueError(
                f"n_rungs and reduction_factor must be at least 2, got {n_rungs} and "
                f"{reduction_factor}"
            )
        self._factor = reduction_factor
        self._rungs = [_Rung() for _ in range(n_rungs)]
        self._starts: dict[int, int] = {}

    @property
    def top(self) -> int:
        """The last rung."""
        return len(self._rungs) - 1

    def record(self, trial: int, rung: int, point: Sequence[float] | None) -> None:
        """What a trial reached at a rung; it was promoted from all rungs below, or started here.

        Args:
            trial: its number.
            rung: from 0.
            point: objectives, all minimised; ``None`` or NaN in it: the trial failed on the way.
        """
        self.under_way(trial, rung)
        self._rungs[rung].add(trial, point)

    def under_way(self, trial: int, rung: int) -> None:
        """A trial trains to this rung, so it holds a place among the promoted of those below."""
        for below in self._rungs[self._starts.get(trial, 0) : rung]:
            below.promoted.add(trial)

    def start(self, trial: int, rung: int) -> None:
        """A trial trains to this rung first and takes no place below; see ``first_rung``."""
        self._starts[trial] = rung

    def retire(self, trial: int) -> None:
        """A trial can be promoted no more, its checkpoint is gone; its results stay."""
        for rung in self._rungs:
            rung.retired.add(trial)

    def promote(self, forecast: Forecast | None = None, last: bool = False) -> Promotion | None:
        """The next trial to train on, the highest rung first; it counts as promoted from here on.

        Args:
            last: whether no more results will come unless somebody is promoted: then the best of
                each rung goes on even where they are too few for a share.
            forecast: asked about all trials of a rung when a place is free there; without it,
                trials are compared by the points that were recorded.
        Returns:
            ``None`` when more results are needed first.
        """
        for number in range(self.top - 1, -1, -1):
            rung = self._rungs[number]
            chosen = rung.best(max(int(last), self._places(rung)), forecast)
            if chosen is not None:
                rung.promoted.add(chosen)
                return Promotion(chosen, number + 1)
        return None

    def results(self, rung: int) -> dict[int, tuple[float, ...]]:
        """The points at a rung by trial, those of failed trials left out."""
        return dict(self._rungs[rung].points)

    def rung_of(self, trial: int) -> int | None:
        """The highest rung at which the trial has a result; ``None`` without any."""
        held = [i for i, rung in enumerate(self._rungs) if trial in rung.points]
        return held[-1] if held else None

    def can_rise(self, trial: int) -> bool:
        """Whether the trial may still be promoted, so that its checkpoint is needed."""
        rung = self.rung_of(trial)
        if rung is None or rung == self.top:
            return False
        held = self._rungs[rung]
        return trial not in held.promoted and trial not in held.retired

    def _places(self, rung: _Rung) -> int:
        return (len(rung.points) + len(rung.failed)) // self._factor


class _Rung:
    """The results at one rung."""

    def __init__(self) -> None:
        self.points: dict[int, tuple[float, ...]] = {}
        self.failed: set[int] = set()
        self.promoted: set[int] = set()
        self.retired: set[int] = set()

    def add(self, trial: int, point: Sequence[float] | None) -> None:
        if trial in self.points or trial in self.failed:
            return  # the first result counts: a late repetition would change who was promoted
        if point is None or any(math.isnan(value) for value in point):
            self.failed.add(trial)
        else:
            self.points[trial] = tuple(map(float, point))

    def best(self, places: int, forecast: Forecast | None) -> int | None:
        """Who of the first ``places`` in the order goes up next; ``None`` when nobody does."""
        if len(self.promoted) >= places or not self.points:
            return None
        trials = sorted(self.points)
        taken = np.asarray([trial in self.promoted for trial in trials])
        free = np.asarray([trial not in self.retired for trial in trials]) & ~taken
        if not free.any():
            return None
        if forecast is None:
            points = np.asarray([self.points[trial] for trial in trials])
            deviations = np.zeros_like(points)
        else:
            points, deviations = forecast(trials)
        rank = ranks(points)
        # those before in the order, whether they were promoted or not
        cut = np.sort(rank)[min(places, len(rank)) - 1]
        eligible = np.flatnonzero(free & (rank <= cut))
        if not len(eligible):
            return None
        best = np.lexsort(
            (rank[eligible], -_gains(points, deviations, eligible, np.flatnonzero(taken)))
        )
        return trials[int(eligible[best[0]])]


def _gains(
    points: Array, deviations: Array, candidates: NDArray[np.int64], taken: NDArray[np.int64]
) -> Array:
    """Expected gain of hypervolume of each candidate over those taken, on scales from 0 to 1."""
    low, width = points.min(axis=0), np.ptp(points, axis=0)
    width = np.where(width > 0, width, 1.0)
    scaled, deviations = (points - low) / width, deviations / width
    ends = np.full(points.shape[1], -_MARGIN), np.full(points.shape[1], 1 + _MARGIN)
    gain = ExpectedGain(scaled[taken], *ends)
    return gain(scaled[candidates], deviations[candidates])
