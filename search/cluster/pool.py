"""Worker pool: jobs go to idle workers, results and losses come back as events."""

from __future__ import annotations

import logging
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError

from peftnas.search.cluster.worker import Worker
from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.pool_protocol import Event, Finished, Lost
from peftnas.spaces.fields import Configurable

if TYPE_CHECKING:
    from peftnas.search.trial.bench import BenchSpec

__all__ = ["Event", "Finished", "Lost", "WorkerPool", "WorkerStartError"]

OBJECT_STORE_BYTES = 128 * 2**20
START_TRIES = 3  # workers in a row that may die while they start
START_TIMEOUT_S = 600.0


class WorkerStartError(RuntimeError):
    """Workers cannot start; more tries would not help."""


@dataclass
class _Slot:
    """The place of one worker: the actor in it, and what it is doing."""

    actor: Any
    waits_for: Any  # reference to what the actor is computing; None when idle
    pid: int | None = None  # None while it starts
    job: TrialJob | None = None
    since: float = field(default_factory=time.monotonic)  # when it was asked to start


class WorkerPool:
    """Workers on Ray that hold one bench each. A worker that dies is replaced.

    Args:
        n_workers: at least 1.
        spec: what each worker's bench is made of.
        address: "local" starts Ray on this machine; "auto" or an address joins a cluster, whose
            workers come up as it has room for them.
        threads: that one trial computes with; more than 1 gives up equal results bit for bit.
        modules_by_value: modules that workers cannot import (the user's file); their classes
            travel along, and the methods among them become known there.
        object_store_bytes: of a local Ray.
        start_timeout_s: how long to wait while no worker at all is up.
        waits: told in words what the start waits for, before it does.
    Raises:
        ValueError: if ``n_workers`` or ``threads`` is below 1.
        WorkerStartError: if no worker comes up, with the reason.
    """

    def __init__(
        self,
        n_workers: int,
        spec: BenchSpec,
        *,
        address: str = "local",
        threads: int = 1,
        modules_by_value: Sequence[ModuleType] = (),
        object_store_bytes: int = OBJECT_STORE_BYTES,
        start_timeout_s: float = START_TIMEOUT_S,
        waits: Callable[[str], None] = lambda what: None,
    ) -> None:
        for name, value in (("n_workers", n_workers), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._threads = threads
        self._start_timeout_s = start_timeout_s
        self._kinds = _by_value(modules_by_value)
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            waits("Ray starts" if address == "local" else f"Ray joins {address}")
            _start_ray(address, n_workers * threads, object_store_bytes)
        self._failed_starts = 0
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._gpus = gpu_share(int(resources.get("GPU", 0)), n_workers)
        self._slots: list[_Slot] = []
        try:
            self._spec = ray.put(spec)
            self._slots = [self._start() for _ in range(n_workers)]
            waits(f"the first of {n_workers} workers loads torch and the backbone, and warms up")
            while not self.idle:
                self.next_event(min(1.0, start_timeout_s))
        except BaseException:
            self.close()
            raise

    @property
    def idle(self) -> int:
        """How many workers wait for a job."""
        return sum(slot.waits_for is None for slot in self._slots)

    @property
    def busy(self) -> int:
        """How many trials are running."""
        return sum(slot.job is not None for slot in self._slots)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that are up, on their machines."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    def submit(self, job: TrialJob) -> None:
        """Give a job to an idle worker.

        Raises:
            RuntimeError: if none is idle.
        """
        for slot in self._slots:
            if slot.waits_for is None:
                slot.job = job
                slot.waits_for = slot.actor.run.remote(job.to_dict())
                return
        raise RuntimeError("no worker is idle; wait for an event before the next job")

    def next_event(self, timeout: float | None = None) -> Event | None:
        """The next thing that happened.

        Args:
            timeout: seconds to wait at most; ``None`` waits as long as it takes.
        Returns:
            An event, or ``None`` when the time is over, when a worker came up (see :attr:`idle`),
            or when nothing is running.
        Raises:
            WorkerStartError: if a worker cannot start, several in a row die while they do, or none
                comes up in time.
        """
        waiting = {slot.waits_for: slot for slot in self._slots if slot.waits_for is not None}
        if not waiting:
            return None
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=timeout)
        if not ready:
            self._refuse_hanging()
            return None
        slot = waiting[ready[0]]
        if slot.job is not None:
            return self._ended(slot, slot.job)
        self._started(slot)
        return None

    def close(self) -> None:
        """Stop all workers at once, and Ray if this pool started it. What runs is lost."""
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []
        if self._owns_ray and ray.is_initialized():
            ray.shutdown()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Slot:
        actor_class = ray.remote(Worker)
        actor: Any = actor_class.options(
            num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0, max_task_retries=0
        ).remote(self._threads)
        return _Slot(actor, actor.prepare.remote(self._spec, self._kinds))

    def _replace(self, slot: _Slot) -> None:
        ray.kill(slot.actor)
        self._slots[self._slots.index(slot)] = self._start()

    def _refuse_hanging(self) -> None:
        """Give up when no worker is up and even the youngest has been starting for too long."""
        waited = time.monotonic() - max(slot.since for slot in self._slots)
        if waited >= self._start_timeout_s and not self.worker_pids():
            raise WorkerStartError(
                f"no worker came up within {self._start_timeout_s:.0f} s; is there room in the "
                f"cluster for {self._threads} CPUs a worker? Ask for fewer threads, or wait for "
                "nodes"
            )

    def _started(self, slot: _Slot) -> None:
        """A worker said whether it is up."""
        try:
            slot.pid = ray.get(slot.waits_for)
        except RayTaskError as error:
            raise WorkerStartError(f"a worker cannot start: {_sentence(error.cause)}") from error
        except RayError as error:
            if "creation task" in str(error):
                last = str(error).strip().splitlines()[-1].strip()
                raise WorkerStartError(f"a worker cannot start: {last}") from error
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                raise WorkerStartError(
                    f"{START_TRIES} workers in a row died while they started; "
                    f"{_death(error, slot.pid)}"
                ) from error
            self._replace(slot)
            return
        self._failed_starts = 0
        slot.waits_for = None

    def _ended(self, slot: _Slot, job: TrialJob) -> Event:
        """A worker gave a result, or is gone."""
        try:
            result = TrialResult.from_dict(ray.get(slot.waits_for))
        except RayTaskError as error:
            # run_trial catches what a trial raises; this is the worker's own failure, such as a
            # GPU whose context is broken: every later trial on it would fail too
            self._replace(slot)
            if isinstance(error.cause, CannotSaveError):
                return Lost(job, _sentence(error.cause))
            return Finished(job, TrialResult("failed", cause="error", error=str(error)))
        except RayError as error:
            self._replace(slot)
            return Lost(job, _death(error, slot.pid))
        slot.job = slot.waits_for = None
        return Finished(job, result)


def gpu_share(gpus: int, workers: int) -> float:
    """The part of one GPU for each worker, such that all of them fit: no share spans two GPUs.

    Args:
        gpus: of the cluster.
        workers: at least 1.
    """
    return 1.0 / math.ceil(workers / gpus) if gpus else 0.0


def _start_ray(address: str, cpus: int, object_store_bytes: int) -> None:
    """Connect to Ray, quietly."""
    options: dict[str, Any] = {}
    if address == "local":
        options = {
            "num_cpus": max(cpus, os.cpu_count() or 1),
            "object_store_memory": object_store_bytes,
            "include_dashboard": False,
        }
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)


def _by_value(modules: Sequence[ModuleType]) -> tuple[type[Configurable], ...]:
    """Make the classes of these modules travel by value; the methods among them."""
    for module in modules:
        cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
    return tuple(
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Configurable)
        and value.__module__ == module.__name__
        and "kind" in vars(value)
    )


def _sentence(error: BaseException) -> str:
    """What an error says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _death(error: RayError, pid: int | None) -> str:
    """How a worker died, in one sentence."""
    named = "a worker" if pid is None else f"worker process {pid}"
    found = re.search(r"exit type: (\w+)", str(error))
    return f"{named} died ({found[1] if found else _sentence(error)})"
