"""The driver: asks for trials, hands them to workers, tells what became of them. One writer.

The way of one trial: ``proposals`` accepts it -> a worker trains it -> ``_finished`` tells it ->
the front is renewed and checkpoints beside it are removed. Successive halving will enter where
``_finished`` takes a result: a rung that is not the last queues the same work again.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from peftnas.search.cluster.faults import RULES, FaultPolicy, GiveUp
from peftnas.search.jobs import TrialResult
from peftnas.search.log import EventLog
from peftnas.search.pareto import minimised, non_dominated
from peftnas.search.pool_protocol import Finished, Lost, Pool
from peftnas.search.progress import Board, Progress, value_words
from peftnas.search.proposals import Proposer
from peftnas.search.records import Plan, Records, outcome, reason_of, within_limits
from peftnas.search.retention import checkpoint_folder, keep_only
from peftnas.search.timing import Timing

Stopped = Literal["done", "time", "interrupted", "exhausted", "failing"]

AHEAD = 1
"""Trials proposed before a worker is free, so that none waits for a slow sampler."""

FAILED_AT_FIRST = 5
"""So many failed trainings before any finished one stop the search."""

FAILED_IN_A_ROW = 20
"""So many failed trainings in a row stop the search at any time."""

NOT_NEEDED = "no longer needed: the study has its finished trials"
_POLL_S = 0.5


@dataclass(frozen=True)
class Work:
    """A trial to train: of the search, or a baseline.

    Attributes:
        records: of the Optuna study that it belongs to.
        number: in that study.
        plan: what to train.
        folder: of its checkpoint.
    """

    records: Records
    number: int
    plan: Plan
    folder: Path

    @property
    def label(self) -> str:
        if self.plan.baseline is not None:
            return f"baseline {self.plan.baseline}"
        return f"trial {self.number}: {self.plan.words}"


@dataclass
class Driver:
    """Runs a study to its limits; see :meth:`run`.

    Attributes:
        pool: the workers.
        records: of the search's study.
        proposer: of new trials.
        out: folder of the study; checkpoints lie below it.
        board: renewed at each event; holds the target and the deadline.
        progress: shows the board.
        log: keeps every event.
        stop: whether somebody wants the run to end now.
        first: work that comes before proposals: what an earlier run left, baselines.
        faults: what happens to a trial whose worker died.
        timing: of the results of this run.
        written: the result that a worker had written before it was lost, if it had.
    """

    pool: Pool
    records: Records
    proposer: Proposer
    out: Path
    board: Board
    progress: Progress
    log: EventLog
    stop: Callable[[], bool]
    first: Sequence[Work] = ()
    faults: FaultPolicy = field(default_factory=FaultPolicy)
    timing: Timing = field(default_factory=Timing)
    written: Callable[[Work], TrialResult | None] = lambda work: None

    def __post_init__(self) -> None:
        self._waiting = deque(self.first)
        self._running: dict[str, Work] = {}
        self._exhausted = False
        self._failed_in_a_row = 0
        self._renew_front()

    def run(self) -> Stopped:
        """Train until the target, the deadline or the end of the space is reached.

        Trials that run at the deadline are finished. After a stop, what runs stays as it is in
        the storage: the next run trains it again under its own number.

        Returns:
            Why it ended.
        """
        while not self.stop():
            self._submit()
            proposes = self._wants_proposal()
            event = self.pool.next_event(0.0 if proposes else _POLL_S)
            if isinstance(event, Finished):
                self._finished(self._running.pop(event.job.folder), event.result)
            elif event is not None:
                self._lost(self._running.pop(event.job.folder), event)
            elif proposes:
                self._propose()
            elif not self._running and not any(map(self._may_start, self._waiting)):
                self._refuse_waiting()
                return self._why_ended()
        return "interrupted"

    # what to start

    def _submit(self) -> None:
        """Hand waiting work to idle workers."""
        while self.pool.idle:
            work = next(filter(self._may_start, self._waiting), None)
            if work is None:
                return
            self._waiting.remove(work)
            self._running[str(work.folder)] = work
            self.board.running[work.label] = self.board.clock()
            if self.board.first_start is None and work.records is self.records:
                self.board.first_start = self.board.clock()
            self.timing.start()
            self.log.write("started", trial=work.number, baseline=work.plan.baseline)
            job = work.plan.job(work.number, str(work.folder), work.records.measure)
            self.pool.submit(job)

    def _may_start(self, work: Work) -> bool:
        """Whether there is time, and the study is not full without it."""
        if self._out_of_time():
            return False
        return work.records is not self.records or self._needed(self._running.values()) > 0

    def _wants_proposal(self) -> bool:
        if self._exhausted or self._out_of_time() or self._failing():
            return False
        if len(self._waiting) >= self.pool.idle + AHEAD:
            return False
        return self._needed([*self._running.values(), *self._waiting]) > 0

    def _needed(self, under_way: Iterable[Work]) -> float:
        """How many trials the study still lacks when those under way finish."""
        if self.board.target is None:
            return float("inf")
        ours = sum(work.records is self.records for work in under_way)
        return self.board.target - self.board.finished - ours

    def _propose(self) -> None:
        before = self.proposer.refused
        proposal = self.proposer.next()
        self.board.refused += self.proposer.refused - before
        if proposal is None:
            self._exhausted = True
            self.log.write("exhausted")
            return
        folder = checkpoint_folder(self.out, proposal.number)
        work = Work(self.records, proposal.number, proposal.plan, folder)
        self.log.write("proposed", trial=work.number, words=work.plan.words)
        self._waiting.append(work)

    # what became of it

    def _finished(self, work: Work, result: TrialResult) -> None:
        self._leave_board(work)
        result = work.records.tell(work.number, result)
        self.timing.add(result)
        complete = result.status == "complete"
        self.log.write(
            "finished",
            trial=work.number,
            baseline=work.plan.baseline,
            status=result.status,
            cause=result.cause,
            metrics=result.metrics,
            timing=result.timing,
        )
        if work.records is not self.records:
            shutil.rmtree(work.folder, ignore_errors=True)
        elif complete:
            self._failed_in_a_row = 0
            self.board.finished += 1
            self.board.trained += 1
            self._renew_front()
        else:
            self._count_failure()
        scores = ", ".join(f"{name} {value_words(x)}" for name, x in result.metrics.items())
        over = work.records.over(work.number)
        scores = "; ".join([scores, *(f"over a limit: {one}" for one in over)])
        ending = scores if complete else f"failed, {reason_of(result)}"
        self.progress.note(f"{work.label}: {ending} ({result.timing.get('wall_s', 0):.1f} s)")

    def _lost(self, work: Work, event: Lost) -> None:
        result = self.written(work)
        if result is not None:
            self._finished(work, result)
            return
        self._leave_board(work)
        reason, losses = event.reason, 0
        if RULES[event.cause].retries is not None:
            losses = work.records.lost(work.number)
        decision = self.faults.after(event.cause, losses, reason)
        self.log.write("lost", trial=work.number, baseline=work.plan.baseline, reason=reason)
        if isinstance(decision, GiveUp):
            work.records.give_up(work.number, decision.reason)
            if work.records is self.records:
                self._count_failure()
            self.progress.note(f"{work.label}: given up, {decision.reason}")
        else:
            self._waiting.appendleft(work)
            self.progress.note(f"{work.label}: worker lost, it runs again ({reason})")

    def _leave_board(self, work: Work) -> None:
        self.board.running.pop(work.label, None)

    def _count_failure(self) -> None:
        self.board.failed += 1
        self._failed_in_a_row += 1

    def _renew_front(self) -> None:
        """Read the front from the study; remove checkpoints of trials that are not on it."""
        rows = [
            trial
            for trial in self.records.trials()
            if outcome(trial) == "complete" and within_limits(trial)
        ]
        objectives = self.records.objectives
        points = minimised(
            [trial.values for trial in rows], [known.direction for known in objectives]
        )
        kept = [row for row, keep in zip(rows, non_dominated(points), strict=True) if keep]
        kept.sort(key=lambda trial: trial.values[-1])
        names = [known.name for known in objectives]
        self.board.front = [
            (dict(zip(names, row.values, strict=True)), row.user_attrs["words"]) for row in kept
        ]
        under_way = [*self._running.values(), *self._waiting]
        numbers = {row.number for row in kept} | {work.number for work in under_way}
        keep_only(self.out / "checkpoints", numbers)

    # how it ends

    def _out_of_time(self) -> bool:
        return self.board.deadline is not None and self.board.clock() >= self.board.deadline

    def _failing(self) -> bool:
        limit = FAILED_IN_A_ROW if self.board.finished else FAILED_AT_FIRST
        return self._failed_in_a_row >= limit

    def _refuse_waiting(self) -> None:
        """End what was proposed and is not trained any more, so that nothing runs for ever."""
        why = "time was up before it started" if self._out_of_time() else NOT_NEEDED
        for work in self._waiting:
            work.records.refuse(work.number, why)
        self._waiting.clear()

    def _why_ended(self) -> Stopped:
        if self.board.target is not None and self.board.finished >= self.board.target:
            return "done"
        if self._failing():
            return "failing"
        return "exhausted" if self._exhausted else "time"
