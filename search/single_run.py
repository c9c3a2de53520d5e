"""One call of run_study, when everything is open: pick up what was left, train, sum up."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna

from peftnas.search.asking import Asker
from peftnas.search.baselines import BASELINES as UNTUNED
from peftnas.search.baselines import plan_baseline
from peftnas.search.demand import Demand, Failures
from peftnas.search.disk import DiskLimit
from peftnas.search.distributions import Answers
from peftnas.search.driver import NOT_NEEDED, Driver, Stopped
from peftnas.search.intake import Intake
from peftnas.search.interrupt import StopRequest
from peftnas.search.live import Live
from peftnas.search.log import EventLog
from peftnas.search.mishaps import Mishaps
from peftnas.search.objectives import COSTS, MEASURED
from peftnas.search.outcomes import outcome, rungs_of, scored, waits
from peftnas.search.pool_protocol import Pool
from peftnas.search.preflight import Prepared
from peftnas.search.progress import Board, show
from peftnas.search.proposals import Proposer
from peftnas.search.records import Records
from peftnas.search.resume import finish_written, retell, written
from peftnas.search.retention import baseline_folder, checkpoint_folder, sweep
from peftnas.search.run_summary import RunSummary
from peftnas.search.sampling.samplers import make_sampler, startup_trials
from peftnas.search.sampling.view import SamplerView
from peftnas.search.standing import Standing
from peftnas.search.wishes import AskedToStop, either
from peftnas.search.work import Work

_SKIPPED = "skipped: "


class SingleRun:
    """A checked study whose storage is open, for one call of ``run_study``.

    Args:
        prepared: the checked study.
        out: folder of its files.
        searched: the Optuna study of the search.
        untuned: that of the baselines.
        sampler: see ``samplers.SAMPLERS``.
        token: of the lease that is held.
        failures: that end the run.
        max_disk: bytes that its checkpoints may take; ``None``: any.
    """

    def __init__(
        self,
        prepared: Prepared,
        out: Path,
        searched: optuna.Study,
        untuned: optuna.Study,
        sampler: str,
        token: str,
        failures: Failures,
        max_disk: int | None = None,
    ) -> None:
        parameters = prepared.bound.anatomy.backbone_parameters
        self.prepared = prepared
        self.sampler = sampler
        self.token = token
        self.failures = failures
        self.disk_full = (
            (lambda: False) if max_disk is None else DiskLimit(out / "checkpoints", max_disk)
        )
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
        *,
        wanted: bool,
        baselines: bool,
    ) -> tuple[Stopped, Driver | None]:
        """Train what is missing; no worker starts when nothing is."""
        work = self._untuned(log) if baselines else []
        standing = Standing(self.records, self.out, *self.prepared.rungs)
        if self.board.target is not None and self.board.finished >= self.board.target:
            self._refuse_unscored()
            if not work and not self.left:
                standing.restore({})
                standing.keep_checkpoints(set())
                return "done", None
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
                    Demand(self.board, self.records, self.failures, disk_full=self.disk_full),
                    self.board,
                    progress,
                    log,
                    either(signalled, AskedToStop(self.records.study, self.token)),
                    live,
                    ahead=max(1, len(workers.workers())),
                    first=work,
                )
                for trial in self.records.trials():
                    if outcome(trial) == "running" and "result" in trial.user_attrs:
                        folder = str(checkpoint_folder(self.out, trial.number))
                        driver.timing.remember(folder, trial.user_attrs["result"]["timing"])
                try:
                    return driver.run(), driver
                finally:
                    live.close()

    def _scored(self) -> int:
        """How many trials count."""
        return sum(map(scored, self.records.trials()))

    def _refuse_unscored(self) -> None:
        """The number is full: what was left counts only where a rung was reached."""
        trials = self.records.trials()
        scored = {work.number for work in self.left if rungs_of(trials[work.number])}
        for unneeded in self.left:
            if unneeded.number not in scored:
                self.records.refuse(unneeded.number, NOT_NEEDED)
        self.left = [work for work in self.left if work.number in scored]

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
        self, url: str, stopped: Stopped, driver: Driver | None, started: float
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
            trained=max(0, self.board.finished - self.kept),
            whole=len(self.records.numbers("complete")),
            resumed=self.told + len(self.left),
            failed=self.board.failed,
            refused=self.board.refused,
            handed_back=_under_way(self.records) + _under_way(self.baselines),
            last_failure=failures[-1] if failures else "",
            timing=driver.timing.summary(driver.ahead) if driver else {"trials": 0},
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


def _under_way(records: Records) -> int:
    """Trials that train or were handed back; those that stand at a rung are none of them."""
    return sum(outcome(trial) == "running" and not waits(trial) for trial in records.trials())
