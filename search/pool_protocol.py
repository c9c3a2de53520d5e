"""What the driver asks of workers, however they run: jobs in, events out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from peftnas.search.jobs import TrialJob, TrialResult


@dataclass(frozen=True)
class Finished:
    """A trial came to its end, complete or failed by itself."""

    job: TrialJob
    result: TrialResult


@dataclass(frozen=True)
class Lost:
    """A trial lost its worker, for the ``reason``; ``cluster/faults.py`` says what to do."""

    job: TrialJob
    reason: str


Event = Finished | Lost


class Pool(Protocol):
    """Workers that each run one job at a time: ``cluster.WorkerPool``, or ``InlinePool``."""

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""

    def submit(self, job: TrialJob) -> None:
        """Give a job to an idle worker."""

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next thing that happened; ``None`` when nothing did within ``timeout`` seconds."""

    def close(self) -> None:
        """Stop all workers at once; what runs is lost."""
