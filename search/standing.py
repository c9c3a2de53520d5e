"""Standing: where the trials of a study stand, on the rungs and on the front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from optuna.trial import FrozenTrial

from peftnas.search.front import Front, FrontPoint
from peftnas.search.halving import Forecast, Ladder
from peftnas.search.outcomes import (
    Outcome,
    outcome,
    rung_under_way,
    rungs_of,
    scored,
    waits,
    within_limits,
)
from peftnas.search.pareto import minimised
from peftnas.search.plans import Plan, plan_of
from peftnas.search.records import Records
from peftnas.search.retention import checkpoint_folder, keep_only
from peftnas.search.rung_correlation import first_rung
from peftnas.search.scores import Score
from peftnas.search.work import Work

STOPPED = "others were better with as many steps"


class Standing:
    """What the trials of the search reached, and who may train on.

    Args:
        records: of the search's study.
        out: folder of the study; checkpoints lie below it.
        rungs: optimiser steps of each rung, the whole training last; empty: no halving.
        reduction_factor: of the halving.

    Attributes:
        finished: trials with a score, those that may still be promoted included.
        first_rung: that new trials train to; it moves up where a rung is seen to say too little.
        front: of the trials that were trained whole.
    """

    def __init__(
        self,
        records: Records,
        out: Path,
        rungs: tuple[int, ...] = (),
        reduction_factor: int = 2,
    ) -> None:
        self.finished = 0
        self.first_rung = 0
        self.front = Front(records.objectives)
        self._records, self._out = records, out
        self._rungs = rungs
        self._ladder = Ladder(len(rungs), reduction_factor) if rungs else None
        self._waiting: dict[int, Work] = {}

    @property
    def waiting(self) -> int:
        """Trials that wait at a rung."""
        return len(self._waiting)

    @property
    def top(self) -> int:
        """The rung of a whole training."""
        return max(0, len(self._rungs) - 1)

    def until(self, rung: int) -> int | None:
        """Optimiser steps of a rung; ``None``: the whole training."""
        return self._rungs[rung] if rung < self.top else None

    def begin(self, number: int, plan: Plan, ticket: int | None) -> Work:
        """A new trial, which trains to the first rung."""
        if self._ladder is not None:
            self._ladder.start(number, self.first_rung)
        return self._work(number, plan, ticket, self.first_rung, scored=False)

    def _work(
        self, number: int, plan: Plan, ticket: int | None, rung: int, *, scored: bool
    ) -> Work:
        folder = checkpoint_folder(self._out, number)
        until = self.until(rung)
        return Work(self._records, number, plan, folder, ticket, rung, until, scored)

    def reached(self, work: Work, score: Score) -> None:
        """A trial came to the end of its work, well or by its own fault."""
        point = self._point(score.values) if not (score.failed or score.over) else None
        if score.failed:
            self.finished -= work.scored
        else:
            self.finished += not work.scored
        if self._ladder is not None:
            self._ladder.record(work.number, work.rung, point)
        if work.rung < self.top:
            if point is not None:
                self._waiting[work.number] = work
            elif not score.failed:
                self._records.stop(work.number, "; ".join(score.over))
        else:
            self._look_at_rungs()
            if point is not None:
                self._on_front(work.number, score.values, work.plan.words)

    def gave_up(self, work: Work) -> None:
        """A trial was lost too often; it counts no more."""
        self.finished -= work.scored
        if self._ladder is not None:
            self._ladder.record(work.number, work.rung, None)

    def promote(self, forecast: Forecast, last: bool = False) -> Work | None:
        """The next trial to train on; ``None`` when more results are needed first.

        Args:
            forecast: of what trials would reach when trained whole.
            last: whether no more results will come unless a trial is promoted.
        """
        promotion = self._ladder.promote(forecast, last) if self._ladder is not None else None
        if promotion is None:
            return None
        before = self._waiting.pop(promotion.trial)
        self._records.promoted(promotion.trial, promotion.rung)
        work = self._work(before.number, before.plan, before.ticket, promotion.rung, scored=True)
        return replace(work, memory_bytes=before.memory_bytes)

    def restore(self, tickets: dict[int, int]) -> list[Work]:
        """Take in what the study holds; the work that an earlier run left under way.

        Args:
            tickets: of the trials by number.
        """
        under_way = []
        for trial in self._records.trials():
            ended, plan = outcome(trial), plan_of(trial)
            if plan is None or ended in ("refused", "enqueued"):
                continue
            number, rungs = trial.number, rungs_of(trial)
            self._recall(trial, ended)
            self.finished += scored(trial)
            if ended != "running":
                if self._ladder is not None:
                    self._ladder.retire(number)
                continue
            rung = rungs[-1]["rung"] if waits(trial) else rung_under_way(trial)
            work = self._work(number, plan, tickets.get(number), rung, scored=bool(rungs))
            if waits(trial):
                self._wait(work, rungs[-1]["over"])
                continue
            under_way.append(work)
            if self._ladder is not None and rungs:
                self._ladder.under_way(number, rung)
        self._look_at_rungs()
        return under_way

    def _recall(self, trial: FrozenTrial, ended: Outcome) -> None:
        """Put what a stored trial reached on the ladder and the front."""
        number, rungs = trial.number, rungs_of(trial)
        if self._ladder is not None:
            first = rungs[0]["rung"] if rungs else rung_under_way(trial)
            self._ladder.start(number, first)
            for entry in rungs:
                if entry["rung"] < self.top:
                    self._record(number, entry["rung"], None if entry["over"] else entry["values"])
        if ended == "complete":
            within = within_limits(trial)
            self._record(number, self.top, trial.values if within else None)
            if within:
                self._on_front(number, trial.values, trial.user_attrs["words"])
        elif ended == "failed":
            self._record(number, rung_under_way(trial), None)

    def _look_at_rungs(self) -> None:
        """Let new trials start where a rung tells who wins."""
        if self._ladder is not None:
            results = [self._ladder.results(rung) for rung in range(self.top + 1)]
            self.first_rung = max(self.first_rung, first_rung(results))

    def stop_waiting(self) -> None:
        """End the trials that wait at a rung: nothing will be promoted any more."""
        for number in sorted(self._waiting):
            self._records.stop(number, STOPPED)
            if self._ladder is not None:
                self._ladder.retire(number)
        self._waiting.clear()

    def keep_checkpoints(self, under_way: set[int]) -> None:
        """Remove the checkpoints of trials that are neither on the front nor to be trained on."""
        keep_only(self._out / "checkpoints", self.front.numbers | under_way | set(self._waiting))

    def _wait(self, work: Work, over: list[str]) -> None:
        """A trial that waits at a rung for its promotion, if its checkpoint is still there."""
        if not over and work.folder.is_dir():
            self._waiting[work.number] = work
            return
        self._records.stop(work.number, "; ".join(over) or "its checkpoint is gone")
        if self._ladder is not None:
            self._ladder.retire(work.number)

    def _record(self, number: int, rung: int, values: list[float] | None) -> None:
        if self._ladder is not None:
            point = None if values is None else self._point(values)
            self._ladder.record(number, min(rung, self.top), point)

    def _point(self, values: list[float]) -> tuple[float, ...]:
        directions = [known.direction for known in self._records.objectives]
        return tuple(map(float, minimised([values], directions)[0]))

    def _on_front(self, number: int, values: list[float], words: str) -> None:
        self.front.add(FrontPoint(number, tuple(values), words))
