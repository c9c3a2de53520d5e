"""What is compared: full trials by any sampler, MOASHA, and halving with promotion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from peftnas.search.halving import Halving, Ladder
from peftnas.search.objectives import Direction
from peftnas.search.pareto import ranks
from peftnas.search.sampling.samplers import make_sampler
from peftnas.search.sampling.view import SamplerView
from peftnas.studies.benchmarks.halving.simulate import Job, Proposals
from peftnas.studies.benchmarks.halving.table import Table

Array = NDArray[np.float64]
DIRECTIONS: tuple[Direction, Direction] = ("minimize", "minimize")


class FullTrials:
    """Every trial trains to the end."""

    def __init__(self, table: Table, sampler: str, seed: int) -> None:
        self._steps = table.steps
        self._view = SamplerView(make_sampler(sampler, seed, 0), DIRECTIONS)
        self._proposals = Proposals(table, self._view, seed)

    def next(self) -> Job | None:
        number = self._proposals.next()
        if number is None:
            return None
        return Job(number, self._proposals.rows[number], 0, 0, self._steps)

    def done(self, job: Job, point: tuple[float, ...]) -> None:
        self._view.tell(job.trial, 0, point)


class Halved:
    """Our halving: promotion by forecasts, proposals by any sampler."""

    def __init__(self, table: Table, halving: Halving, sampler: str, seed: int) -> None:
        self._rungs = halving.rungs(table.steps)
        self._ladder = Ladder(len(self._rungs), halving.reduction_factor)
        self._view = SamplerView(
            make_sampler(sampler, seed, 0), DIRECTIONS, len(self._rungs), exact=(False, True)
        )
        self._proposals = Proposals(table, self._view, seed)

    def next(self) -> Job | None:
        rows = self._proposals.rows
        promotion = self._ladder.promote(self._view.forecasts.of)
        if promotion is not None:
            up = promotion.rung
            row = rows[promotion.trial]
            return Job(promotion.trial, row, up, self._rungs[up - 1], self._rungs[up])
        number = self._proposals.next()
        return None if number is None else Job(number, rows[number], 0, 0, self._rungs[0])

    def done(self, job: Job, point: tuple[float, ...]) -> None:
        self._ladder.record(job.trial, job.rung, point)
        self._view.tell(job.trial, job.rung, point)


class Moasha:
    """Random configurations; at each rung the best third of all results so far goes straight on.

    Source: Schmucker et al., Multi-objective Asynchronous Successive Halving, 2021.
    """

    def __init__(self, table: Table, seed: int, factor: int = 3) -> None:
        self._rungs = [1]
        while self._rungs[-1] * factor < table.steps:
            self._rungs.append(self._rungs[-1] * factor)
        self._rungs.append(table.steps)
        self._factor = factor
        self._view = SamplerView(make_sampler("random", seed, 0), DIRECTIONS)
        self._proposals = Proposals(table, self._view, seed)
        self._results: list[list[tuple[float, ...]]] = [[] for _ in self._rungs]
        self._going: list[Job] = []

    def next(self) -> Job | None:
        if self._going:
            return self._going.pop(0)
        number = self._proposals.next()
        if number is None:
            return None
        return Job(number, self._proposals.rows[number], 0, 0, self._rungs[0])

    def done(self, job: Job, point: tuple[float, ...]) -> None:
        if job.rung == len(self._rungs) - 1:
            return
        held = self._results[job.rung]
        held.append(point)
        if len(held) < self._factor or self._is_good(np.asarray(held)):
            up = job.rung + 1
            self._going.append(Job(job.trial, job.row, up, job.end, self._rungs[up]))

    def _is_good(self, points: Array) -> bool:
        """Whether the last point is among the best third: by rank, within one by a net."""
        places = len(points) // self._factor
        rank = ranks(points)
        place = np.stack([_places(column) for column in points.T], axis=1)
        sure = np.flatnonzero(rank < rank[-1])
        level = np.flatnonzero(rank == rank[-1])
        if len(sure) + len(level) <= places or len(sure) >= places:
            return len(sure) < places
        # the net: the point farthest from all that are in it comes next
        gaps = np.full(len(level), np.inf)
        for held in sure:
            gaps = np.minimum(gaps, np.abs(place[level] - place[held]).max(axis=1))
        for _ in range(places - len(sure)):
            far = int(np.argmax(gaps))
            if level[far] == len(points) - 1:
                return True
            gaps = np.minimum(gaps, np.abs(place[level] - place[level[far]]).max(axis=1))
            gaps[far] = -np.inf
        return False


def _places(values: Array) -> Array:
    """Where each value stands among the distinct ones, from 0 to 1."""
    distinct, where = np.unique(values, return_inverse=True)
    return where / max(1, len(distinct) - 1)
