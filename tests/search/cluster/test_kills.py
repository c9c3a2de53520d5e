"""kill -9 of the driver and of workers: nothing finished is lost, nothing runs twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from peftnas.search import StudyResults, UsageError, open_results
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.pool import WorkerPool
from peftnas.search.jobs import TrialJob
from peftnas.search.preflight import Prepared
from peftnas.search.storage import sqlite_url
from tests.search.cluster import study_process

ROOT = Path(__file__).parents[3]
PATIENCE_S = 180.0


def results(out: Path) -> StudyResults | None:
    try:
        return open_results(sqlite_url(out), study_process.NAME)
    except UsageError:  # not made yet
        return None


def finished(out: Path) -> dict[int, str]:
    """When each finished trial was told."""
    found = results(out)
    return {row.number: row.finished for row in found.finished} if found else {}


def started(out: Path) -> list[int]:
    """The trials that were handed to workers, in order."""
    log = out / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [event["trial"] for event in events if event["event"] == "started"]


def begin(out: Path, backbone: Backbone, trials: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.search.cluster.study_process",
            str(out),
            str(backbone.folder),
            str(trials),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def wait_for(true: object, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come true"
        assert process.poll() is None, "the driver ended"
        time.sleep(0.05)


def check_whole(out: Path, trials: int, earlier: dict[int, str]) -> None:
    """The asked number, nothing running, and what was finished is as it was."""
    found = results(out)
    assert found is not None
    assert found.counts()["complete"] == trials
    assert found.counts()["running"] == 0
    assert earlier.items() <= finished(out).items()
    twins = Counter((row.train_key, str(row.recipe)) for row in found.finished)
    assert set(twins.values()) == {1}


class KillsAWorker(WorkerPool):
    """Kills the worker that has just got its fourth job, a moment later.

    The first two were handed out by the killed driver too, whose workers may still finish them.
    """

    jobs = 0

    def submit(self, job: TrialJob) -> None:
        super().submit(job)
        self.jobs += 1
        if self.jobs == 4:
            worker = next(one for one in self.workers() if one.folder == job.folder)
            assert worker.pid is not None
            threading.Timer(0.05, os.kill, (worker.pid, signal.SIGKILL)).start()


def test_a_killed_driver_and_a_killed_worker(bert: Backbone, tmp_path: Path) -> None:
    process = begin(tmp_path, bert, 8)
    wait_for(lambda: len(finished(tmp_path)) >= 2 and len(started(tmp_path)) >= 4, process)
    kill(process)
    before, handed = finished(tmp_path), started(tmp_path)
    assert before

    def pool(prepared: Prepared) -> WorkerPool:
        return KillsAWorker(
            2,
            prepared.spec,
            modules_by_value=(study_process.conftest,),
            object_store_bytes=100 * 2**20,
        )

    summary = study_process.go(tmp_path, bert.folder, 8, pool)
    assert summary.stopped == "done" and summary.kept == len(before)
    check_whole(tmp_path, 8, before)
    again = started(tmp_path)[len(handed) :]
    assert not set(again) & set(before)
    found = results(tmp_path)
    assert found is not None
    assert sum(row.machine_losses for row in found.trials) == 1


@pytest.mark.slow
def test_ten_kills_at_random_moments(bert: Backbone, tmp_path: Path) -> None:
    chance, trials = random.Random(5), 60
    known: dict[int, str] = {}
    for kill_number in range(10):
        process = begin(tmp_path, bert, trials)
        count = len(started(tmp_path))
        wait_for(lambda count=count: len(started(tmp_path)) > count, process)
        time.sleep(chance.uniform(0, 2))
        if kill_number % 2:
            for worker in workers_of(process):
                worker.kill()
                break
            time.sleep(chance.uniform(0, 2))
        kill(process)
        now = finished(tmp_path)
        assert known.items() <= now.items()
        known = now
    assert begin(tmp_path, bert, trials).wait(timeout=10 * PATIENCE_S) == 0
    check_whole(tmp_path, trials, known)


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The Ray workers below a driver."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [child for child in below if "Worker" in " ".join(child.cmdline())]
