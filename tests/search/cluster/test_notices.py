"""Notices, requests and silence: what stops a trial between two steps, and what does not."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from peftnas.methods import LoRA
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.pool import Finished, Lost, WorkerPool
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


def test_notices_requests_and_silence(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, pool_of: PoolOf, tmp_path: Path
) -> None:
    pool = pool_of(1, spec_of(bert), modules_by_value=BY_VALUE, step_timeout_s=5.0)
    first = pool.worker_pids()[0]
    folder = str(tmp_path / "0")
    long = job_of(LoRA(rank=2), steps=LONG, folder=folder)

    # a request of the driver: the trial stops, its worker goes on
    begin(pool, long)
    pool.hand_back()
    assert [worker.state for worker in pool.workers()] == ["stopping"]
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "handed_back"
    assert event.job is long and 3 <= event.result.step < LONG
    assert pool.worker_pids() == [first] and pool.idle == 1
    assert any(Path(folder).iterdir())  # the snapshot

    # it goes on from there; SIGTERM stops it again, and its worker ends
    steps = event.result.step
    assert begin(pool, long, steps + 3) == first
    os.kill(first, signal.SIGTERM)
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "handed_back"
    assert event.result.resumed_from == steps and event.result.step > steps
    wait_gone(first)
    wait_until(lambda: pool.idle == 1, pool)

    # SIGTERM to a worker that waits: it ends, and nothing is lost
    second = pool.worker_pids()[0]
    assert second != first
    os.kill(second, signal.SIGTERM)
    wait_gone(second)
    wait_until(lambda: pool.worker_pids() not in ([], [second]) and pool.idle == 1, pool)

    # a worker that stands still: it is ended, and the trial comes back
    third = begin(pool, job_of(steps=LONG, number=2))
    os.kill(third, signal.SIGSTOP)
    event = next_of(pool)
    assert isinstance(event, Lost) and event.cause == "hangs" and event.job.number == 2
    assert event.reason.startswith("hangs: no sign of life for ")
    wait_gone(third)
    wait_until(lambda: pool.idle == 1, pool)

    # what ends well is told as before
    pool.submit(job_of(LoRA(rank=2)))
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.status == "complete"
    (worker,) = pool.workers()
    assert worker.device == "cpu" and worker.weights == "mapped" and worker.memory_bytes > 10**9
    assert worker.host and worker.idle_s > 0 and worker.trial is None

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
