"""Worker pool: jobs go to idle workers, results and losses come back as events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import ray
from ray.exceptions import RayError, RayTaskError

from peftnas.search.cluster import connect, heartbeat
from peftnas.search.cluster.crew import Crew, WorkerStartError
from peftnas.search.cluster.deaths import cause_of, death_words, sentence
from peftnas.search.cluster.parcel import Parcels
from peftnas.search.cluster.room import Devices
from peftnas.search.cluster.slot import Slot
from peftnas.search.cluster.watchdog import Patience
from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.pool_protocol import Event, Finished, Fit, Lost, WorkerFacts

if TYPE_CHECKING:
    from peftnas.search.trial.bench import BenchSpec

__all__ = ["Event", "Finished", "Lost", "WorkerPool", "WorkerStartError"]

OBJECT_STORE_BYTES = 128 * 2**20
START_TIMEOUT_S = 600.0
SURVEY_S = 1.0
PING_S, PING_TIMEOUT_S = 2.0, 60.0


class WorkerPool:
    """Workers on Ray that hold one bench each. A worker that is gone is replaced.

    On a cluster workers come up as it has room: one whose node goes away waits for another, and
    takes a node that is added. A study whose last node goes away waits for the next.

    Args:
        n_workers: at least 1; ``None``: as many as there is room for, more and fewer with it.
        spec: what each worker's bench is made of.
        address: "local" starts Ray on this machine; "auto" or an address joins a cluster.
        threads: that one trial computes with; more than 1 gives up equal results bit for bit.
        modules_by_value: modules that workers cannot import (the user's file); their classes
            travel along, and the methods among them become known there.
        devices: "gpu" or "cpu" alone, "all" of both, or "auto": GPUs where the cluster has any.
        trial_bytes: predicted peak of the largest trial: so many workers share a GPU that their
            trials have room on the smallest one; 0: workers are spread evenly.
        step_timeout_s: silence after which a trial hangs; see ``watchdog.Patience``.
        check_backbone: whether each trial is followed by a look at the backbone's weights.
        out: folder of the study; a node that does not see it is refused; ``None``: not looked at.
        object_store_bytes: of a local Ray.
        start_timeout_s: how long to wait for the first worker.
        waits: told in words what the start waits for, before it does.
    Raises:
        ValueError: if ``n_workers``, ``threads`` or ``step_timeout_s`` is too small.
        WorkerStartError: if no worker comes up, with the reason.
    """

    def __init__(
        self,
        n_workers: int | None,
        spec: BenchSpec,
        *,
        address: str = "local",
        threads: int = 1,
        modules_by_value: Sequence[ModuleType] = (),
        devices: Devices = "auto",
        trial_bytes: int = 0,
        step_timeout_s: float | None = None,
        check_backbone: bool = False,
        out: Path | None = None,
        object_store_bytes: int = OBJECT_STORE_BYTES,
        start_timeout_s: float = START_TIMEOUT_S,
        waits: Callable[[str], None] = lambda what: None,
    ) -> None:
        for name, value in (("n_workers", n_workers), ("threads", threads)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._patience = Patience(step_timeout_s)
        self._events: deque[Event] = deque()
        self._longest_s = 0.0  # silence of a trial that came to its end
        self._surveyed = 0.0
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            waits("Ray starts" if address == "local" else f"Ray joins {address}")
            connect.start_ray(address, (n_workers or 1) * threads, object_store_bytes)
        try:
            self._crew = Crew(
                n_workers,
                Parcels(spec, modules_by_value, check_backbone, out),
                threads=threads,
                devices=devices,
                trial_bytes=trial_bytes,
                start_timeout_s=start_timeout_s,
            )
        except BaseException:
            self._disconnect()
            raise
        try:
            waits(f"the first of {self.size} workers loads torch and the backbone, and warms up")
            while not self.idle:
                self.next_event(min(1.0, start_timeout_s))
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """How many workers there are, those that wait for room included."""
        return len(self._crew.slots)

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""
        return sum(slot.state == "idle" for slot in self._crew.slots)

    @property
    def busy(self) -> int:
        """How many trials are running."""
        return sum(slot.job is not None for slot in self._crew.slots)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are up, on their machines."""
        return [slot.pid for slot in self._crew.slots if slot.up and slot.pid is not None]

    def workers(self) -> list[WorkerFacts]:
        """What each worker is and does."""
        return [slot.facts() for slot in self._crew.slots]

    def fits(self, job: TrialJob) -> Fit:
        """Whether a worker is large enough for a job: now, later, or none there is."""
        large = [slot for slot in self._crew.slots if slot.memory_bytes >= job.memory_bytes]
        if any(slot.state == "idle" for slot in large):
            return "now"
        if not job.memory_bytes or any(slot.up for slot in large):
            return "later"
        coming = any(slot.may_get(job.memory_bytes) for slot in self._crew.slots)
        return "later" if coming else "never"

    def submit(self, job: TrialJob) -> None:
        """Give a job to an idle worker, the smallest that it fits.

        Raises:
            RuntimeError: if none is idle, or large enough.
        """
        idle = [slot for slot in self._crew.slots if slot.state == "idle"]
        large = [slot for slot in idle if slot.memory_bytes >= job.memory_bytes]
        if not large:
            why = "is large enough for the job" if idle else "is idle"
            raise RuntimeError(f"no worker {why}; wait for an event before the next job")
        min(large, key=lambda slot: slot.memory_bytes).take(job)

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next thing that happened.

        Args:
            timeout: seconds to wait at most; ``None`` waits as long as it takes.
        Returns:
            An event, or ``None`` when the time is over, when a worker came up (see :attr:`idle`),
            or when nothing is running or starting.
        Raises:
            WorkerStartError: if no worker is up and one cannot start, several in a row die while
                they do, or none comes up in time.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._survey()
            if self._events:
                return self._events.popleft()
            if all(slot.state == "idle" for slot in self._crew.slots):
                return None
            left = SURVEY_S if end is None else min(SURVEY_S, max(0.0, end - time.monotonic()))
            came_up = self._wait(left)
            if self._events:
                return self._events.popleft()
            if came_up or (end is not None and time.monotonic() >= end):
                self._crew.refuse_waiting()
                return None

    def hand_back(self) -> None:
        """Ask all running trials to stop between two steps; they come back "handed_back"."""
        for slot in self._crew.slots:
            self._ask_to_stop(slot)

    def close(self) -> None:
        """Stop all workers at once, and Ray if this pool started it. What runs is lost."""
        if ray.is_initialized():
            self._crew.close()
        self._disconnect()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _disconnect(self) -> None:
        if self._owns_ray and ray.is_initialized():
            ray.shutdown()

    # what has to be looked at from time to time

    def _survey(self) -> None:
        """Look at nodes, at signs of life, and at what waits for another try."""
        now = time.monotonic()
        if now - self._surveyed < SURVEY_S:
            return
        self._surveyed = now
        leaving = connect.draining()
        for slot in list(self._crew.slots):
            if slot.state == "failed" and now >= slot.retry_at:
                self._crew.start(slot)
            elif slot.node in leaving:
                self._leave(slot)
            elif slot.job is not None:
                self._watch(slot, slot.job)
            elif slot.state == "idle":
                self._ping(slot, now)
        self._crew.resize()

    def _leave(self, slot: Slot) -> None:
        """Its node is about to go: a trial is handed back, an idle worker goes elsewhere."""
        if slot.job is None:
            self._crew.replace(slot)
        else:
            slot.ends = True
            self._ask_to_stop(slot)

    def _ask_to_stop(self, slot: Slot) -> None:
        if slot.state == "busy":
            heartbeat.ask_to_stop(slot.name, slot.token)
            slot.enter("stopping")

    def _watch(self, slot: Slot, job: TrialJob) -> None:
        now = time.monotonic()
        report = heartbeat.report_of(slot.name)
        if report is not None and report.token == slot.token:
            slot.watch.seen(report.beats, report.step, report.median_s, now)
        why = slot.watch.hangs(self._patience, self._longest_s, now)
        if why is None or ray.wait([slot.waits_for], timeout=0)[0]:
            return
        self._events.append(Lost(job, why, "hangs", slot.memory_bytes))
        self._crew.replace_deaf(slot)

    def _ping(self, slot: Slot, now: float) -> None:
        """See whether an idle worker still lives, so that no job is lost to a dead one."""
        if slot.ping is None:
            if now - slot.pinged >= PING_S:
                slot.ping, slot.pinged = slot.actor.ping.remote(), now
        elif ray.wait([slot.ping], timeout=0)[0]:
            try:
                ray.get(slot.ping)
                slot.ping = None
            except RayError:
                self._crew.replace(slot)
        elif now - slot.pinged > PING_TIMEOUT_S:
            self._crew.replace_deaf(slot)

    # what became of what a worker was asked

    def _wait(self, timeout: float) -> bool:
        """Wait for one worker, and take its answer in; whether it came up."""
        waiting = {slot.waits_for: slot for slot in self._crew.slots if slot.waits_for is not None}
        if not waiting:
            time.sleep(timeout)
            return False
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout)
        if not ready:
            return False
        slot = waiting[ready[0]]
        if slot.job is None:
            return self._crew.started(slot)
        self._events.append(self._ended(slot, slot.job))
        return False

    def _ended(self, slot: Slot, job: TrialJob) -> Event:
        """A worker gave a result, or is gone."""
        memory = slot.memory_bytes
        try:
            answer = ray.get(slot.waits_for)
        except RayTaskError as error:
            if isinstance(error.cause, CannotSaveError):
                slot.rest()
                return Lost(job, sentence(error.cause), "cannot_save", memory)
            # run_trial catches what a trial raises; this is the worker's own failure, such as a
            # GPU whose context is broken: every later trial on it would fail too
            self._crew.replace(slot)
            return Finished(job, TrialResult("failed", cause="error", error=str(error)), memory)
        except RayError as error:
            event = Lost(job, death_words(error, slot.pid), cause_of(error), memory)
            self._crew.replace(slot)
            return event
        self._longest_s = max(self._longest_s, slot.watch.longest_s)
        result = TrialResult.from_dict(answer["result"])
        if answer["leaving"] or slot.ends:
            self._crew.replace(slot)
        else:
            slot.rest()
        return Finished(job, result, memory)
