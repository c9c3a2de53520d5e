"""run_study: check a study, open its storage, pick up what was left, train, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna

from peftnas.search.baselines import BASELINES as UNTUNED
from peftnas.search.baselines import plan_baseline
from peftnas.search.cluster.address import check_address
from peftnas.search.driver import NOT_NEEDED, Driver, Stopped, Work
from peftnas.search.errors import UsageError
from peftnas.search.interrupt import StopRequest
from peftnas.search.log import EventLog
from peftnas.search.machine import machine_words, versions
from peftnas.search.out_folder import claim
from peftnas.search.pool_protocol import Pool
from peftnas.search.preflight import Prepared, prepare
from peftnas.search.progress import Board, Progress, show
from peftnas.search.proposals import Proposer
from peftnas.search.records import Records, outcome
from peftnas.search.results import BASELINES
from peftnas.search.resume import left_over, written
from peftnas.search.retention import baseline_folder, checkpoint_folder, sweep
from peftnas.search.run_summary import RunSummary
from peftnas.search.sampling.samplers import make_sampler, startup_trials
from peftnas.search.storage import FACTS, only_writer, open_storage, open_study, sqlite_url
from peftnas.search.study import Study

DEFAULT_TRIALS = 50

_SKIPPED = "skipped: "


def run_study(
    study: Study,
    *,
    storage_url: str | None = None,
    out: Path,
    data: Path | None = None,
    base: Path | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    sampler: str = "tpe",
    address: str = "local",
    progress: bool = True,
    baselines: bool = True,
    modules: Sequence[ModuleType] = (),
    make_pool: Callable[[Prepared], Pool] | None = None,
) -> RunSummary:
    """Run a study, or go on with it, up to a number of finished trials or for some minutes.

    ``run_study(study, out=Path("runs/mine"), data=Path("data"), trials=20, workers=2)``; the
    trials are then in ``open_results("sqlite:///runs/mine/study.db", study.name)``.

    Args:
        study: to run.
        storage_url: database URL; SQLite in ``out`` by default.
        out: folder of checkpoints and log.
        data: folder that relative sources of the task are looked for in first.
        base: folder of the study's file.
        trials: finished trials that the study should have, all calls together; 50 by default,
            unless ``minutes`` is given.
        minutes: no trial starts later than so many minutes after this call; what runs then is
            finished.
        workers: processes that train, at least 1.
        sampler: see ``sampling.samplers.SAMPLERS``.
        address: "local" starts Ray here; "auto" or an address joins a cluster.
        progress: whether to show what happens, on stderr.
        baselines: whether to train the untuned baselines first, once a study.
        modules: the user's own modules, whose classes workers cannot import.
        make_pool: makes other workers than Ray's; ``inline_pool.in_this_process`` trains here.
    Raises:
        UsageError: for anything wrong with the study or the arguments, before a worker starts.
    """
    started = time.monotonic()
    _check_limits(trials, minutes, workers)
    check_address(address)
    if trials is None and minutes is None:
        trials = DEFAULT_TRIALS
    prepared = prepare(study, data=data, base=base, sampler=sampler)
    url = storage_url or sqlite_url(out)
    storage = open_storage(url, create=True)
    out = out.absolute()
    with only_writer(url, out, study.name):
        directions = [known.direction for known in prepared.objectives]
        searched = open_study(storage, study.name, directions=directions, content=prepared.content)
        untuned = open_study(
            storage, study.name + BASELINES, directions=directions, content=prepared.content
        )
        searched.sampler = make_sampler(sampler, study.seed, len(searched.get_trials(False)))
        claim(out, study.name, prepared.content)
        spread = startup_trials(sampler, prepared.objectives)
        run = _Run(prepared, out, searched, untuned, spread)
        run.board.target = trials
        if minutes is not None:
            run.board.deadline = started + 60.0 * minutes

        def pool() -> Pool:
            if make_pool:
                return make_pool(prepared)
            return _ray(prepared, workers, address, modules, run.board.wait)

        settings = {"workers": workers, "sampler": sampler, "trials": trials, "minutes": minutes}
        _keep_facts(searched, prepared)
        with EventLog(out / "log.jsonl") as log:
            log.write("run", study=study.name, **settings)
            stopped, driver = run.run(pool, log, wanted=progress, baselines=baselines)
            summary = run.summary(url, stopped, driver, workers, started)
            log.write("ended", **summary.to_dict())
        _keep_facts(searched, prepared, settings | summary.to_dict())
    return summary


class _Run:
    """One call of run_study with everything opened."""

    def __init__(
        self,
        prepared: Prepared,
        out: Path,
        searched: optuna.Study,
        untuned: optuna.Study,
        spread: int,
    ) -> None:
        parameters = prepared.bound.anatomy.backbone_parameters
        self.prepared = prepared
        self.spread = spread
        self.out = out
        goals, limits = prepared.objectives, prepared.constraints
        self.records = Records(searched, goals, parameters, limits)
        self.baselines = Records(untuned, goals, parameters, limits)
        sweep(out / "checkpoints")
        sweep(out / "checkpoints" / "baselines")
        self.kept = len(self.records.numbers("complete"))
        self.left = left_over(self.records, self.out, checkpoint_folder)
        self.board = Board(
            prepared.study.name,
            prepared.objectives,
            finished=len(self.records.numbers("complete")),
        )
        # told at once from what workers had written, or trained again
        self.told = self.board.finished - self.kept

    def run(
        self, pool: Callable[[], Pool], log: EventLog, *, wanted: bool, baselines: bool
    ) -> tuple[Stopped, Driver | None]:
        """Train what is missing; no worker starts when nothing is."""
        work = self._untuned(log) if baselines else []
        if self.board.target is not None and self.board.finished >= self.board.target:
            for unneeded in self.left:
                self.records.refuse(unneeded.number, NOT_NEEDED)
            self.left = []
            if not work:
                return "done", None
        work += self.left
        study = self.prepared.study
        proposer = Proposer(
            self.records,
            self.prepared.bound,
            study.recipe,
            self.prepared.constraints,
            study.seed,
            self.spread,
            self.prepared.predictions,
        )
        with show(self.board, wanted=wanted) as progress:
            progress.note(f"{self.kept} finished trials are kept; workers are starting")
            workers = pool()
            self.board.wait("")
            with closing(workers), StopRequest(progress.note) as stop:
                driver = self._driver(workers, proposer, progress, log, stop, work)
                return driver.run(), driver

    def summary(
        self, url: str, stopped: Stopped, driver: Driver | None, workers: int, started: float
    ) -> RunSummary:
        """What the call did."""
        failures = [
            trial.user_attrs["reason"]
            for trial in self.records.trials()
            if outcome(trial) == "failed"
        ]
        return RunSummary(
            name=self.prepared.study.name,
            storage_url=url,
            out=str(self.out),
            stopped=stopped,
            kept=self.kept,
            trained=self.board.finished - self.kept,
            resumed=self.told + len(self.left),
            failed=self.board.failed,
            refused=self.board.refused,
            handed_back=len(self.records.numbers("running"))
            + len(self.baselines.numbers("running")),
            last_failure=failures[-1] if failures else "",
            timing=driver.timing.summary(workers) if driver else {"trials": 0},
            wall_s=time.monotonic() - started,
        )

    def _driver(
        self,
        pool: Pool,
        proposer: Proposer,
        progress: Progress,
        log: EventLog,
        stop: Callable[[], bool],
        work: list[Work],
    ) -> Driver:
        return Driver(
            pool,
            self.records,
            proposer,
            self.out,
            self.board,
            progress,
            log,
            stop,
            work,
            written=written,
        )

    def _untuned(self, log: EventLog) -> list[Work]:
        """The baselines that are still to be trained; those that do not apply are noted."""
        study = self.prepared.study
        work = left_over(self.baselines, self.out, baseline_folder, keep=False)
        settled = {
            trial.user_attrs.get("baseline")
            for trial in self.baselines.trials()
            if not trial.state.is_finished()
            or "result" in trial.user_attrs
            or trial.user_attrs.get("given_up")
            or trial.user_attrs.get("reason", "").startswith(_SKIPPED)
        }
        for baseline in UNTUNED:
            if baseline.name in settled:
                continue
            plan = plan_baseline(
                baseline,
                self.prepared.bound,
                study.recipe,
                study.seed,
                self.prepared.predictions,
                self.prepared.constraints,
            )
            trial = self.baselines.study.ask()
            if isinstance(plan, str):
                trial.set_user_attr("baseline", baseline.name)
                self.baselines.refuse(trial.number, _SKIPPED + plan)
                log.write("baseline skipped", baseline=baseline.name, reason=plan)
                continue
            self.baselines.accept(trial, plan)
            folder = baseline_folder(self.out, trial.number)
            work.append(Work(self.baselines, trial.number, plan, folder))
        return work


def _check_limits(trials: int | None, minutes: float | None, workers: int) -> None:
    if workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    if trials is not None and trials < 1:
        raise UsageError(f"trials must be at least 1, got {trials}")
    if minutes is not None and not minutes > 0:
        raise UsageError(f"minutes must be above 0, got {minutes:g}")


def _ray(
    prepared: Prepared,
    workers: int,
    address: str,
    modules: Sequence[ModuleType],
    waits: Callable[[str], None],
) -> Pool:
    from peftnas.search.cluster.pool import WorkerPool

    return WorkerPool(
        workers, prepared.spec, address=address, modules_by_value=modules, waits=waits
    )


def _keep_facts(
    study: optuna.Study, prepared: Prepared, run: dict[str, Any] | None = None
) -> None:
    """Keep what a report says besides the trials; ``run`` is added to what earlier runs left."""
    runs = study.user_attrs.get(FACTS, {}).get("runs", [])
    if run is not None:
        ended = datetime.now().astimezone().isoformat(timespec="seconds")
        plain = {name: value for name, value in run.items() if name not in ("storage_url", "out")}
        runs = [*runs, {"ended": ended} | plain]
    here = {"machine": machine_words(), "versions": versions()}
    study.set_user_attr(FACTS, prepared.facts() | here | {"runs": runs})
