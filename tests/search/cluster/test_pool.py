"""Worker pool: results, losses, replacements, and start-up that cannot work. Starts Ray."""

import dataclasses
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from peftnas.methods import FullFineTuning, LoRA
from peftnas.methods.lora import LoRA as BaseLoRA
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.pool import (
    Event,
    Finished,
    Lost,
    WorkerPool,
    WorkerStartError,
)
from peftnas.search.jobs import TrialJob
from peftnas.search.trial.artifact import finished_result
from peftnas.search.trial.fine_tune import run_trial
from tests.search import conftest
from tests.search.cluster.conftest import PoolOf, next_of, wait_gone, wait_until
from tests.search.conftest import JobOf, SpecOf

# neither this file nor the fixtures can be imported by a worker
BY_VALUE = (sys.modules[__name__], conftest)


class NoJob(TrialJob):
    """Breaks the worker before a trial begins."""

    def to_dict(self) -> dict[str, Any]:
        return {"nothing": "known"}


@dataclass(frozen=True, kw_only=True)
class OwnLoRA(BaseLoRA):
    """A method that a user's file defines."""

    kind: ClassVar[str] = "own_lora"


def test_trials_on_workers_equal_those_in_process_and_a_killed_worker_is_replaced(
    bert: Backbone,
    spec_of: SpecOf,
    job_of: JobOf,
    pool_of: PoolOf,
    tmp_path: Path,
) -> None:
    spec = spec_of(bert)
    pool = pool_of(2, spec, modules_by_value=BY_VALUE)
    wait_until(lambda: pool.idle == 2, pool)
    first, second = pool.worker_pids()
    assert os.getpid() not in (first, second) and first != second

    # on either worker, after others or first: what this process computes
    job = job_of(LoRA(rank=2), steps=40, folder=str(tmp_path / "0"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = run_trial(spec.build(), job_of(LoRA(rank=2), steps=40))
    torch.set_num_threads(threads)
    seen: list[Event] = []
    for other in (job, job_of(FullFineTuning(), number=1), job, job_of(OwnLoRA(), number=2), job):
        while not pool.idle:
            seen.append(next_of(pool))
        pool.submit(other)
    while pool.busy:
        seen.append(next_of(pool))
    results = [(event.job.number, event.result) for event in seen if isinstance(event, Finished)]
    assert sorted(number for number, _ in results) == [0, 0, 0, 1, 2]
    assert {result.status for _, result in results} == {"complete"}
    repeated = [result for number, result in results if number == 0]
    assert all(result.losses == expected.losses for result in repeated)
    assert all(result.curve == expected.curve for result in repeated)
    assert finished_result(tmp_path / "0", job.key) is not None

    # a failure of a trial leaves its worker alive
    pool.submit(job_of(learning_rate=1e30, clip_norm=0.0))
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.cause == "diverged"
    assert set(pool.worker_pids()) == {first, second}

    # kill -9 of a worker in the middle of a trial; the other one's trial goes on
    long, short = job_of(number=7, steps=10**6), job_of(number=8, steps=60)
    pool.submit(long)
    time.sleep(0.5)
    victim = busy_pid(pool)
    pool.submit(short)
    os.kill(victim, signal.SIGKILL)
    events = [next_of(pool), next_of(pool)]
    (lost,) = [event for event in events if isinstance(event, Lost)]
    (finished,) = [event for event in events if isinstance(event, Finished)]
    assert lost.job == long and f"worker process {victim} died" in lost.reason
    assert finished.job == short and finished.result.status == "complete"
    wait_until(lambda: pool.idle == 2, pool)
    assert victim not in pool.worker_pids() and len(pool.worker_pids()) == 2

    # Ctrl-C in the terminal reaches the workers too: they ignore it
    for pid in pool.worker_pids():
        os.kill(pid, signal.SIGINT)
    pool.submit(job_of(LoRA(rank=2), steps=40))
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.losses == expected.losses

    # a worker that fails itself, not its trial, is not trusted with another one
    before = set(pool.worker_pids())
    pool.submit(dataclasses.replace(job_of(), recipe=None))
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.cause == "error"
    assert set(pool.worker_pids()) == before
    pool.submit(NoJob(**vars(job_of())))
    event = next_of(pool)
    assert isinstance(event, Finished) and event.result.cause == "error"
    wait_until(lambda: pool.idle == 2, pool)
    assert len(before & set(pool.worker_pids())) == 1

    pids = pool.worker_pids()
    pool.close()
    for pid in pids:
        wait_gone(pid)


def test_a_worker_that_cannot_start_is_one_clear_error(
    bert: Backbone, spec_of: SpecOf, pool_of: PoolOf, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bert.folder, tmp_path / "copy"))
    spec = spec_of(Backbone(folder))
    (folder / "model.safetensors").write_bytes(b"gone bad")
    with pytest.raises(WorkerStartError, match="a worker cannot start: .* have sha256"):
        pool_of(1, spec, modules_by_value=BY_VALUE)
    with pytest.raises(WorkerStartError, match="no worker came up within 0 s; is there room"):
        pool_of(1, spec, modules_by_value=BY_VALUE, start_timeout_s=0.01)


@dataclass(frozen=True)
class Deadly(conftest.GoodOrBad):
    """A task that ends every process but the one that made it."""

    home: int = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        if os.getpid() != state["home"]:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_workers_that_die_while_they_start_are_not_replaced_for_ever(
    bert: Backbone, spec_of: SpecOf, pool_of: PoolOf
) -> None:
    spec = dataclasses.replace(spec_of(bert), task=Deadly(home=os.getpid()))
    with pytest.raises(WorkerStartError, match="3 workers in a row died while they started"):
        pool_of(1, spec, modules_by_value=BY_VALUE)


@pytest.mark.parametrize("option", ["n_workers", "threads"])
def test_at_least_one(option: str, bert: Backbone, spec_of: SpecOf) -> None:
    options = {"n_workers": 1, "threads": 1} | {option: 0}
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        WorkerPool(options["n_workers"], spec_of(bert), threads=options["threads"])


def busy_pid(pool: WorkerPool) -> int:
    (worker,) = [worker for worker in pool.workers() if worker.state == "busy"]
    assert worker.pid is not None
    return worker.pid
