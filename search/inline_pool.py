"""Trials in this process instead of on workers: to debug a method or a task, and for tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.pool_protocol import (
    Event,
    Finished,
    Fit,
    Lost,
    WorkerFacts,
    WorkerState,
)

if TYPE_CHECKING:
    from peftnas.search.preflight import Prepared


class InlinePool:
    """One worker that is this process: a job runs when the driver waits for an event.

    Args:
        run: runs one job; :func:`in_this_process` makes a pool for real trials.
    """

    def __init__(self, run: Callable[[TrialJob], TrialResult]) -> None:
        self._run = run
        self._job: TrialJob | None = None

    @property
    def idle(self) -> int:
        """1 while no job waits to be run."""
        return int(self._job is None)

    def fits(self, job: TrialJob) -> Fit:
        """Any job fits: what it needs is not looked at."""
        return "now" if self.idle else "later"

    def submit(self, job: TrialJob) -> None:
        """Take one job; it runs in :meth:`next_event`."""
        if self._job is not None:
            raise RuntimeError("no worker is idle; wait for an event before the next job")
        self._job = job

    def next_event(self, timeout: float | None = None) -> Event | None:
        """Run the waiting job to its end, however long it takes; ``None`` without one."""
        if self._job is None:
            return None
        job, self._job = self._job, None
        try:
            return Finished(job, self._run(job))
        except CannotSaveError as error:
            return Lost(job, str(error), "cannot_save")

    def hand_back(self) -> None:
        """Nothing runs between two calls."""

    def workers(self) -> list[WorkerFacts]:
        """This process."""
        state: WorkerState = "idle" if self._job is None else "busy"
        return [WorkerFacts(0, state, pid=os.getpid(), device="cpu", weights="private")]

    def close(self) -> None:
        """Forget a job that waits."""
        self._job = None


def in_this_process(prepared: Prepared) -> InlinePool:
    """A pool that trains here, where a debugger and ``print`` reach: without Ray, one at a time.

    ``run_study(study, out=Path("runs/debug"), trials=1, make_pool=in_this_process)``

    Args:
        prepared: the checked study, which ``run_study`` gives.
    """
    from peftnas.search.trial.fine_tune import run_trial

    bench = prepared.spec.build()
    return InlinePool(lambda job: run_trial(bench, job))
