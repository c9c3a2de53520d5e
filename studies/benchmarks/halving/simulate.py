"""One simulated study: workers that train rows of a table, asynchronously, and what it cost.

A job takes as many units of time as it has steps. A study starts jobs until the next one would
exceed its budget of steps; what a result has cost is the steps of all jobs started before it came.
Only trials at the top rung count, with their true values.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.trial import Trial

from peftnas.search.sampling.view import SamplerView
from peftnas.studies.benchmarks.halving.table import Table

Array = NDArray[np.float64]
REFUSALS_IN_A_ROW = 5
WORKERS = 4


@dataclass(frozen=True)
class Job:
    """A trial trains from one step to another.

    Attributes:
        trial: its number, the first is 0.
        row: of the table.
        rung: that it trains to.
        start: steps that it had.
        end: steps that it then has.
    """

    trial: int
    row: int
    rung: int
    start: int
    end: int


class Strategy(Protocol):
    """Decides what is trained next, from points at rungs alone."""

    def next(self) -> Job | None:
        """The next job; ``None`` when nothing is left to train."""

    def done(self, job: Job, point: tuple[float, ...]) -> None:
        """A job ended with this error and cost, both minimised."""


@dataclass(frozen=True)
class Outcome:
    """What a simulated study found.

    Attributes:
        steps: of all jobs started before each result at the top.
        points: shape (n, 2), true error and cost of these results.
        started: steps of all jobs.
        trials: that were started.
    """

    steps: list[int]
    points: Array
    started: int
    trials: int


def simulate(
    table: Table, shape: str, strategy: Strategy, budget: int, workers: int = WORKERS
) -> Outcome:
    """Run a study.

    Args:
        table: of learning curves.
        shape: one of its shapes.
        strategy: decides.
        budget: steps of all jobs together.
        workers: that train at a time.
    """
    curves, costs = table.curves(shape), table.costs
    running: list[tuple[int, int, Job]] = []
    now = started = count = 0
    steps: list[int] = []
    points: list[tuple[float, float]] = []
    trials = set()
    job: Job | None = None
    exhausted = False
    while True:
        while len(running) < workers and not exhausted:
            job = strategy.next()
            if job is None or started + job.end - job.start > budget:
                exhausted = True
                break
            started += job.end - job.start
            trials.add(job.trial)
            heapq.heappush(running, (now + job.end - job.start, count, job))
            count += 1
        if not running:
            break
        now, _, ended = heapq.heappop(running)
        point = float(curves[ended.row, ended.end - 1]), float(costs[ended.row])
        if ended.end == table.steps:
            steps.append(started)
            points.append(point)
        strategy.done(ended, point)
    return Outcome(steps, np.asarray(points).reshape(-1, 2), started, len(trials))


class Proposals:
    """New rows of the table: the sampler's, or after too many refusals one at random.

    Args:
        table: of learning curves.
        view: of the study.
        seed: of the random rows.
    """

    def __init__(self, table: Table, view: SamplerView, seed: int) -> None:
        self._table, self._view = table, view
        self._taken: set[int] = set()
        self._draw = np.random.default_rng(seed)
        self.rows: list[int] = []

    def next(self) -> int | None:
        """The number of a new trial; its row stands in ``rows``."""
        number = len(self.rows)
        for _ in range(REFUSALS_IN_A_ROW):
            trial: Trial = self._view.ask()
            row = self._table.suggest(trial)
            if row not in self._taken:
                self._view.accept(trial, number)
                return self._take(row)
            self._view.refuse(trial)
        left = np.setdiff1d(np.arange(len(self._table.points)), list(self._taken))
        if not len(left):
            return None
        row = int(self._draw.choice(left))
        self._view.add(number, *self._table.parameters_of(row))
        return self._take(row)

    def _take(self, row: int) -> int:
        self._taken.add(row)
        self.rows.append(row)
        return len(self.rows) - 1
