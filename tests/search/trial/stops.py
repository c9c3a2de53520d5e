"""Ways to run one trial to its end, for tests that compare them; also a process: JOB, BACKBONE."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from peftnas.search.backbone import Backbone
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.trial.bench import Bench, BenchSpec
from peftnas.search.trial.fine_tune import run_trial
from peftnas.search.trial.snapshot import SNAPSHOT
from tests.search.conftest import GoodOrBad

OFTEN = 1e-9
"""Seconds between snapshots, so that the first comes after the first step."""


def tensors_of(result: TrialResult) -> list[bytes]:
    """What a complete trial left, to the last bit."""
    assert result.status == "complete", result.error
    folder = Path(result.checkpoint or "")
    names = ("modules/adapter.safetensors", "head.safetensors")
    return [(folder / name).read_bytes() for name in names]


def in_rungs(
    make: Callable[[], Bench], job: TrialJob, rungs: Sequence[int], run: object = run_trial
) -> list[TrialResult]:
    """The results at some steps and at the end, each trained on a bench of its own."""
    results = []
    for until in (*rungs, None):
        part = dataclasses.replace(job, until=until)
        results.append(run(make(), part))  # type: ignore[operator]
    return results


class KillAfterSnapshot:
    """A ``beat`` that kills its own process in the second step after a snapshot of the process."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / SNAPSHOT
        self.before = self._written()
        self.seen: int | None = None

    def _written(self) -> int:
        return self.path.stat().st_mtime_ns if self.path.exists() else 0

    def __call__(self, step: int) -> None:
        if self.seen is None and self._written() != self.before:
            self.seen = step
        if self.seen is not None and step >= self.seen + 2:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_on_the_way(bench: Bench, job: TrialJob) -> None:
    """Run a trial in a fork of this process, which dies by SIGKILL behind its first snapshot."""
    bench.model(job.recipe["dtype"])  # it loads in threads, which a fork does not have
    with warnings.catch_warnings():
        # other threads of a test process hold nothing that the trial needs
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            often = dataclasses.replace(job, snapshot_every_s=OFTEN)
            print(run_trial(bench, often, beat=KillAfterSnapshot(job.folder)), file=sys.stderr)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


def spec_on(backbone: Backbone) -> BenchSpec:
    """The tiny task on a backbone."""
    task = GoodOrBad()
    return BenchSpec(backbone, task, task.open(None, Path(), 3))


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = TrialJob.from_dict(json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps(run_trial(spec_on(Backbone(Path(sys.argv[2]))).build(), given).to_dict()))
