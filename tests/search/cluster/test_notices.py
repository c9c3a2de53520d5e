"""Notices, requests and silence: what stops a trial between two steps, and what does not."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from peftnas.methods import LoRA
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.pool import Finished, Lost, WorkerPool, WorkerStartError
from peftnas.search.jobs import TrialJob
from tests.search import conftest
from tests.search.cluster.conftest import PoolOf, next_of, wait_gone, wait_until
from tests.search.conftest import JobOf, SpecOf

BY_VALUE = (sys.modules[__name__], conftest)
LONG = 10**6


def begin(pool: WorkerPool, job: TrialJob, step: int = 3) -> int:
    """Hand a job over and wait for some of its steps; the process that runs it."""
    pool.submit(job)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert pool.next_event(0.2) is None
        (busy,) = [worker for worker in pool.workers() if worker.state == "busy"]
        assert busy.trial == job.number and busy.folder == job.folder
        if busy.step >= step:
            assert busy.pid is not None
            return busy.pid
    raise AssertionError("it made no steps")


def test_a_request_and_a_notice_stop_a_trial_between_two_steps(
    bert: Backbone,
    spec_of: SpecOf,
    job_of: JobOf,
    pool_of: PoolOf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # what workers of this machine share lies here; Ray's sockets need a short path
    monkeypatch.setenv("RAY_TMPDIR", tempfile.gettempdir())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    placed = tmp_path / f"peftnas-{os.getuid()}"
    pool = pool_of(1, spec_of(bert), modules_by_value=BY_VALUE, out=tmp_path)
    assert {path.name.split("-")[0] for path in placed.iterdir()} == {"study", "weights"}
    (worker,) = pool.workers()
    assert worker.device == "cpu" and worker.weights == "mapped" and worker.memory_bytes > 10**9
    assert worker.host and worker.pid and worker.idle_s >= 0 and worker.trial is None

    # a job that needs more memory than any worker has is refused, whatever is idle
    small = dataclasses.replace(job_of(), memory_bytes=worker.memory_bytes)
    large = dataclasses.replace(job_of(), memory_bytes=worker.memory_bytes + 1)
    assert pool.fits(job_of()) == pool.fits(small) == "now"
    assert pool.fits(large) == "never"
    with pytest.raises(RuntimeError, match="no worker is large enough for the job"):
        pool.submit(large)
    pool.submit(small)
    assert pool.fits(small) == "later" and pool.fits(large) == "never"
    event = next_of(pool)
    assert isinstance(event, Finished) and event.memory_bytes == worker.memory_bytes

    # a request of the driver: the trial stops, its worker goes on
    folder = str(tmp_path / "0")
    long = job_of(LoRA(rank=2), steps=LONG, folder=folder)
    begin(pool, long)
    pool.hand_back()
    assert [worker.state for worker in pool.workers()] == ["stopping"]
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "handed_back"
    assert event.job is long and 3 <= event.result.step < LONG
    assert pool.worker_pids() == [worker.pid] and pool.idle == 1

    # it goes on from there; SIGTERM stops it again, and its worker ends
    steps = event.result.step
    assert begin(pool, long, steps + 3) == worker.pid
    os.kill(worker.pid, signal.SIGTERM)
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "handed_back"
    assert event.result.resumed_from == steps and event.result.step > steps
    wait_gone(worker.pid)
    assert not pool.idle and pool.fits(long) == pool.fits(small) == "later"  # it is replaced

    pool.close()
    assert list(placed.iterdir()) == [] and not list(tmp_path.glob(".seen-by-workers-*"))


@pytest.mark.slow
def test_a_worker_that_stands_still_and_one_that_waits_when_its_notice_comes(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, pool_of: PoolOf
) -> None:
    pool = pool_of(1, spec_of(bert), modules_by_value=BY_VALUE, step_timeout_s=5.0)

    # an idle worker ends at SIGTERM, and no job is given to it
    first = pool.worker_pids()[0]
    os.kill(first, signal.SIGTERM)
    wait_gone(first)
    wait_until(lambda: pool.worker_pids() not in ([], [first]) and pool.idle == 1, pool)

    # one that stands still is ended, and its trial comes back
    second = begin(pool, job_of(steps=LONG, number=2))
    os.kill(second, signal.SIGSTOP)
    event = next_of(pool)
    assert isinstance(event, Lost) and event.cause == "hangs" and event.job.number == 2
    assert event.reason.startswith("hangs: no sign of life for ")
    wait_gone(second)
    wait_until(lambda: pool.idle == 1, pool)
    pool.submit(job_of(LoRA(rank=2)))
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "complete"


@dataclass(frozen=True)
class Hungry(conftest.GoodOrBad):
    """A task whose scores take memory without end, except in the process that made it."""

    home: int = 0

    def score(self, predictions: Any, labels: Any) -> dict[str, float]:
        taken = []
        while os.getpid() != self.home:
            taken.append(np.ones(50 * 2**20, dtype=np.uint8))
            time.sleep(0.05)
        return super().score(predictions, labels)


@pytest.mark.slow
def test_a_machine_that_runs_out_of_memory_is_named(
    bert: Backbone,
    spec_of: SpecOf,
    job_of: JobOf,
    pool_of: PoolOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = psutil.virtual_memory()
    used = (memory.total - memory.available + 4 * 2**30) / memory.total
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{used:.3f}")
    spec = dataclasses.replace(spec_of(bert), task=Hungry(home=os.getpid()), examples={})
    pool = pool_of(1, spec, modules_by_value=BY_VALUE)
    pool.submit(job_of())
    event = next_of(pool)
    assert isinstance(event, Lost) and event.cause == "host_memory"
    assert "its machine ran out of memory" in event.reason and event.memory_bytes > 0
    wait_until(lambda: pool.idle == 1, pool)


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_of_the_study_is_refused(
    bert: Backbone, spec_of: SpecOf, pool_of: PoolOf, tmp_path: Path
) -> None:
    class Elsewhere(type(tmp_path)):  # type: ignore[misc]
        """A folder whose files nobody else sees."""

        def touch(self, *_: object, **__: object) -> None:
            return None

    with pytest.raises(WorkerStartError, match="must be one that all nodes see, but '.*' on"):
        pool_of(1, spec_of(bert), modules_by_value=BY_VALUE, out=Elsewhere(tmp_path))
