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

from peftnas.search.asking import Asker
from peftnas.search.baselines import BASELINES as UNTUNED
from peftnas.search.baselines import plan_baseline
from peftnas.search.cluster.address import check_address
from peftnas.search.distributions import Answers
from peftnas.search.driver import NOT_NEEDED, Driver, Stopped
from peftnas.search.errors import UsageError
from peftnas.search.intake import Intake
from peftnas.search.interrupt import StopRequest
from peftnas.search.live import Live
from peftnas.search.log import EventLog
from peftnas.search.machine import machine_words, versions
from peftnas.search.mishaps import Mishaps
from peftnas.search.objectives import COSTS, MEASURED
from peftnas.search.out_folder import claim
from peftnas.search.outcomes import outcome, rungs_of
from peftnas.search.pool_protocol import Pool
from peftnas.search.preflight import Prepared, prepare
from peftnas.search.progress import Board, show
from peftnas.search.proposals import Proposer
from peftnas.search.records import Records
from peftnas.search.results import BASELINES
from peftnas.search.resume import finish_written, retell, written
from peftnas.search.retention import baseline_folder, checkpoint_folder, sweep
from peftnas.search.run_summary import RunSummary
from peftnas.search.sampling.samplers import make_sampler, startup_trials
from peftnas.search.sampling.view import SamplerView
from peftnas.search.standing import Standing
from peftnas.search.storage import FACTS, only_writer, open_study, open_to_write, sqlite_url
from peftnas.search.study import Study
from peftnas.search.wishes import AskedToStop, either
from peftnas.search.work import Work

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
        sampler: see ``samplers.SAMPLERS``.
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
    storage = open_to_write(url)
    out = out.absolute()
    with only_writer(storage, out, study.name) as lease:
        directions = [known.direction for known in prepared.objectives]
        searched = open_study(storage, study.name, directions=directions, content=prepared.content)
        untuned = open_study(
            storage, study.name + BASELINES, directions=directions, content=prepared.content
        )
        claim(out, study.name, prepared.content)
        run = _Run(prepared, out, searched, untuned, sampler, lease.token)
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
            stopped, driver = run.run(pool, log, workers, wanted=progress, baselines=baselines)
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
        sampler: str,
        token: str,
    ) -> None:
        parameters = prepared.bound.anatomy.backbone_parameters
        self.prepared = prepared
        self.sampler = sampler
        self.token = token
        self.out = out
        goals, limits = prepared.objectives, prepared.constraints
        self.records = Records(searched, goals, parameters, limits)
        self.baselines = Records(untuned, goals, parameters, limits)
        sweep(out / "checkpoints")
        sweep(out / "checkpoints" / "baselines")
        self.kept = self._scored()
        left = [
            Work(self.records, number, plan, checkpoint_folder(out, number))
            for number, plan in self.records.recover().items()
        ]
        self.left = finish_written(left)
        # told at once from what workers had written, or trained again
        finished = self._scored()
        self.told = finished - self.kept
        self.board = Board(prepared.study.name, prepared.objectives, finished=finished)

    def run(
        self,
        pool: Callable[[], Pool],
        log: EventLog,
        n_workers: int,
        *,
        wanted: bool,
        baselines: bool,
    ) -> tuple[Stopped, Driver | None]:
        """Train what is missing; no worker starts when nothing is."""
        work = self._untuned(log) if baselines else []
        if self.board.target is not None and self.board.finished >= self.board.target:
            for unneeded in self.left:
                self.records.refuse(unneeded.number, NOT_NEEDED)
            self.left = []
            if not work:
                return "done", None
        standing = Standing(self.records, self.out, *self.prepared.rungs)
        proposer = self._proposer(standing.top)
        tickets = retell(proposer, self.records, standing.top)
        work += standing.restore(tickets)
        numbers = {ticket: number for number, ticket in tickets.items()}
        with show(self.board, wanted=wanted) as progress, Asker(proposer) as asker:
            progress.note(f"{self.kept} finished trials are kept; workers are starting")
            intake = Intake(asker, self.records, standing, log, numbers)
            workers = pool()
            self.board.wait("")
            with closing(workers), StopRequest(progress.note) as signalled:
                live = Live(self.out, workers.workers)
                driver = Driver(
                    workers,
                    self.records,
                    intake,
                    Mishaps(workers, log, written),
                    standing,
                    self.board,
                    progress,
                    log,
                    either(signalled, AskedToStop(self.records.study, self.token)),
                    live,
                    ahead=n_workers,
                    first=work,
                )
                try:
                    return driver.run(), driver
                finally:
                    live.close()

    def _scored(self) -> int:
        """Trials that count: with a score, of a whole training or at a rung."""
        return sum(
            outcome(trial) in ("complete", "stopped")
            or (outcome(trial) == "running" and bool(rungs_of(trial)))
            for trial in self.records.trials()
        )

    def _proposer(self, top: int) -> Proposer:
        """A new proposer of the study, which knows no trial yet."""
        study, prepared = self.prepared.study, self.prepared
        sampler = make_sampler(self.sampler, study.seed, len(self.records.trials()))
        directions = [known.direction for known in prepared.objectives]
        return Proposer(
            SamplerView(
                sampler,
                directions,
                top + 1,
                [limit.text for limit in prepared.constraints if limit.measured],
                [goal.name in COSTS and goal.name not in MEASURED for goal in prepared.objectives],
            ),
            prepared.bound,
            study.recipe,
            prepared.constraints,
            study.seed,
            startup_trials(self.sampler, prepared.objectives),
            prepared.predictions,
        )

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
            whole=len(self.records.numbers("complete")),
            resumed=self.told + len(self.left),
            failed=self.board.failed,
            refused=self.board.refused,
            handed_back=len(self.records.numbers("running"))
            + len(self.baselines.numbers("running")),
            last_failure=failures[-1] if failures else "",
            timing=driver.timing.summary(workers) if driver else {"trials": 0},
            wall_s=time.monotonic() - started,
        )

    def _untuned(self, log: EventLog) -> list[Work]:
        """The baselines that are still to be trained; those that do not apply are noted."""
        study = self.prepared.study
        left = [
            Work(self.baselines, number, plan, baseline_folder(self.out, number))
            for number, plan in self.baselines.recover().items()
        ]
        work = finish_written(left, keep=False)
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
            if isinstance(plan, str):
                self.baselines.refused(Answers(), _SKIPPED + plan, baseline=baseline.name)
                log.write("baseline skipped", baseline=baseline.name, reason=plan)
                continue
            number = self.baselines.start(plan, Answers())
            folder = baseline_folder(self.out, number)
            work.append(Work(self.baselines, number, plan, folder))
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
