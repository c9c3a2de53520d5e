"""What the engine takes: trials a second when they train nothing, and how long workers wait.

``python -m peftnas.studies.benchmarks.engine [--finished 1000] [--out runs/engine.json]``

The quickstart's space and recipe; two Ray actors that answer with a closed form, at once or after
a second. The study holds ``--finished`` trials before the clock starts. For each sampler: trials a
second with trials of 0 s; and the part of the workers' time that they waited with trials of 1 s.
"""

from __future__ import annotations

import argparse
import math
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from peftnas.search.asking import Asker
from peftnas.search.demand import Demand
from peftnas.search.driver import Driver
from peftnas.search.intake import Intake
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.log import EventLog
from peftnas.search.mishaps import Mishaps
from peftnas.search.pool_protocol import Event, Finished, Fit, WorkerFacts
from peftnas.search.progress import Board, Silent
from peftnas.search.proposals import Proposer
from peftnas.search.records import Records
from peftnas.search.sampling.samplers import make_sampler, startup_trials
from peftnas.search.sampling.view import SamplerView
from peftnas.search.standing import Standing
from peftnas.search.storage import open_study, open_to_write, sqlite_url
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.studies.benchmarks import record
from peftnas.studies.quickstart import study

TARGET_PER_S = 16.0
WORKERS = 2


class Sleeper:
    """A worker that trains nothing."""

    def run(self, result: dict[str, Any], seconds: float) -> dict[str, Any]:
        time.sleep(seconds)
        return result


class Sleepers:
    """A pool of Ray actors that answer after some seconds; counts how long they waited."""

    def __init__(self, bound: BoundSpace) -> None:
        self.seconds, self.waited_s = 0.0, 0.0
        self._bound = bound
        actor: Any = ray.remote(Sleeper)
        self._idle = [(actor.remote(), time.perf_counter()) for _ in range(WORKERS)]
        self._busy: dict[Any, tuple[Any, TrialJob]] = {}
        ray.get([one.run.remote({}, 0.0) for one, _ in self._idle])

    @property
    def idle(self) -> int:
        return len(self._idle)

    def fits(self, job: TrialJob) -> Fit:
        return "now" if self._idle else "later"

    def submit(self, job: TrialJob) -> None:
        actor, since = self._idle.pop(0)
        self.waited_s += time.perf_counter() - since
        answer = actor.run.remote(self._result(job).to_dict(), self.seconds)
        self._busy[answer] = actor, job

    def next_event(self, timeout: float | None = None) -> Event | None:
        if not self._busy:
            return None
        ready, _ = ray.wait(list(self._busy), num_returns=1, timeout=timeout)
        if not ready:
            return None
        actor, job = self._busy.pop(ready[0])
        self._idle.append((actor, time.perf_counter()))
        return Finished(job, TrialResult.from_dict(ray.get(ready[0])))

    def hand_back(self) -> None:
        """Trials end by themselves."""

    def workers(self) -> list[WorkerFacts]:
        return [WorkerFacts(number, "busy") for number in range(WORKERS)]

    def close(self) -> None:
        """Nothing outlives Ray."""

    def start_counting(self) -> None:
        """Forget what was waited so far."""
        self.waited_s = 0.0
        self._idle = [(actor, time.perf_counter()) for actor, _ in self._idle]

    def _result(self, job: TrialJob) -> TrialResult:
        """More parameters are better, with noise; as large as a result of the quickstart."""
        count = self._bound.count(Architecture.from_dict(job.architecture))
        score = 0.5 + 0.3 * math.log1p(count) / 14 + 0.01 * math.sin(job.seed)
        scores = {"accuracy": score, "macro_f1": score}
        return TrialResult(
            "complete",
            step=60,
            metrics=scores,
            curve=[{"step": step, "loss": 1.0, **scores} for step in (30, 60)],
            losses=[1.0] * 60,
            timing={"wall_s": self.seconds},
            trainable_parameters=count,
            stored_bytes=4 * count,
        )


def measure(sampler: str, finished: int, more: int, sleeping: int, folder: Path) -> dict[str, Any]:
    """Figures of one sampler.

    Args:
        sampler: name of it.
        finished: trials before the clock starts.
        more: trials of 0 s.
        sleeping: trials of 1 s after them.
        folder: of the study.
    """
    from peftnas.search.backbone import find_backbone

    anatomy = find_backbone(study.backbone).anatomy()
    bound = study.space.bind(anatomy)
    goals = study.named_objectives(anatomy.backbone_parameters)
    directions = [goal.direction for goal in goals]
    stored = open_study(
        open_to_write(sqlite_url(folder)), sampler, directions=directions, content={}
    )
    records = Records(stored, goals, anatomy.backbone_parameters)
    standing = Standing(records, folder)
    view = SamplerView(make_sampler(sampler, 0, 0), directions, exact=(False, True))
    spread = startup_trials(sampler, goals)
    board = Board(sampler, goals)
    pool = Sleepers(bound)
    proposer = Proposer(view, bound, study.recipe, spread=spread)
    with EventLog(folder / "log.jsonl") as log, Asker(proposer) as asker:
        driver = Driver(
            pool,
            records,
            Intake(asker, records, standing, log, {}),
            Mishaps(pool, log),
            standing,
            Demand(board, records),
            board,
            Silent(),
            log,
            lambda: "go on",
            ahead=WORKERS,
        )
        _run(driver, board, finished)
        ask_s, asks = asker.ask_s, asker.asks
        wall = _run(driver, board, finished + more)
        ask_ms = 1e3 * (asker.ask_s - ask_s) / max(1, asker.asks - asks)
        pool.seconds = 1.0
        pool.start_counting()
        slow = _run(driver, board, finished + more + sleeping)
    return {
        "sampler": sampler,
        "finished": finished,
        "trials_per_s": more / wall,
        "ask_ms": ask_ms,
        "waited_part": pool.waited_s / (WORKERS * slow),
        "driver_peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _run(driver: Driver, board: Board, target: int) -> float:
    """Seconds to so many finished trials."""
    board.target = target
    start = time.perf_counter()
    driver.run()
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print, and keep the figures with ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1000)
    parser.add_argument("--more", type=int, default=200, help="trials of 0 s")
    parser.add_argument("--sleeping", type=int, default=40, help="trials of 1 s")
    parser.add_argument("--samplers", nargs="+", default=["random", "nsga2", "tpe"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    rows = []
    for sampler in given.samplers:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(sampler, given.finished, given.more, given.sleeping, Path(folder))
        rows.append(row)
        print(
            f"{sampler:10} {row['trials_per_s']:6.1f} trials/s after {given.finished} "
            f"(target {TARGET_PER_S:.0f}); a proposal {row['ask_ms']:.0f} ms; with trials of 1 s "
            f"workers waited {100 * row['waited_part']:.1f} % of the time; driver "
            f"{row['driver_peak_mb']:.0f} MB"
        )
    record.write(given.out, "engine", {"samplers": rows})


if __name__ == "__main__":
    main()
