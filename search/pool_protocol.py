"""What the driver asks of workers, however they run: jobs in, events out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from peftnas.search.jobs import TrialJob, TrialResult

LossCause = Literal[
    "worker_killed", "node_gone", "hangs", "host_memory", "cannot_save", "handed_back"
]
"""Why a trial came back without a result; ``cluster/faults.py`` says what follows."""

WorkerState = Literal["waits for room", "starts", "idle", "busy", "stopping", "failed"]

Fit = Literal["now", "later", "never"]
"""Whether a worker can take a job: an idle one, one that is not idle, or none there is."""


@dataclass(frozen=True)
class WorkerFacts:
    """What one worker is, and what it does.

    Attributes:
        number: of its place in the pool, from 0; a worker that takes it over has the same.
        state: "waits for room" until the cluster has some, "starts" while it loads the backbone,
            "stopping" when its trial was asked to stop between two steps, "failed" when it could
            not start and will be tried again.
        state_s: seconds in this state.
        idle_s: seconds without a job since it came up, all together.
        host: name of its machine; "" until it runs.
        pid: process id there.
        device: "cpu", or the name of its GPU; "" until it is up.
        memory_bytes: what a trial on it may use: its part of the device, or the memory of the
            host; 0 until it is up.
        threads: that a trial computes with.
        weights: how it holds the backbone: "mapped" with others of its machine, "private" or "on
            the device".
        trial: number of the trial that it runs.
        folder: checkpoint folder of that trial; tells trials of two studies apart.
        step: optimiser steps that it has made, as of about a second ago.
        note: why it failed, where it did.
    """

    number: int
    state: WorkerState
    state_s: float = 0.0
    idle_s: float = 0.0
    host: str = ""
    pid: int | None = None
    device: str = ""
    memory_bytes: int = 0
    threads: int = 1
    weights: str = ""
    trial: int | None = None
    folder: str = ""
    step: int = 0
    note: str = ""


@dataclass(frozen=True)
class Finished:
    """A worker says what became of a trial: complete, paused, handed back, or failed by itself.

    Attributes:
        memory_bytes: of the worker that ran it; a trial that failed with "out_of_memory" may run
            again with ``TrialJob.memory_bytes`` above this, where there is such a worker.
    """

    job: TrialJob
    result: TrialResult
    memory_bytes: int = 0


@dataclass(frozen=True)
class Lost:
    """A trial came back without a result, for the ``reason``, one sentence.

    Attributes:
        cause: what ``cluster/faults.py`` decides by.
        memory_bytes: of the worker that ran it.
    """

    job: TrialJob
    reason: str
    cause: LossCause = "worker_killed"
    memory_bytes: int = 0


Event = Finished | Lost


class Pool(Protocol):
    """Workers that each run one job at a time: ``cluster.WorkerPool``, or ``InlinePool``."""

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""

    def fits(self, job: TrialJob) -> Fit:
        """Whether a worker is large enough for a job: now, later, or none there is.

        "never" holds for the workers there are; a cluster may get a larger one.
        """

    def submit(self, job: TrialJob) -> None:
        """Give a job to an idle worker, the smallest that it fits."""

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next thing that happened; ``None`` when nothing did within ``timeout`` seconds."""

    def hand_back(self) -> None:
        """Ask all running trials to stop between two steps.

        They come back as ``Finished`` with the status "handed_back", or with their result where
        that came first.
        """

    def workers(self) -> list[WorkerFacts]:
        """What each worker is and does."""

    def close(self) -> None:
        """Stop all workers at once; what runs is lost."""
