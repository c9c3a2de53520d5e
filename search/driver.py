"""The driver: asks for trials, hands them to workers, tells what became of them. One writer.

The way of one trial: the asker proposes it -> it is written as running -> a worker trains it to
its first rung -> ``standing`` promotes it, and it trains on, or it waits -> it is told. Without
halving the first rung is the whole training.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from peftnas.search.cluster.faults import GiveUp
from peftnas.search.demand import Demand
from peftnas.search.intake import Intake
from peftnas.search.jobs import TrialResult
from peftnas.search.live import Live
from peftnas.search.log import EventLog
from peftnas.search.mishaps import TOO_LARGE, Mishaps
from peftnas.search.pool_protocol import Event, Lost, Pool
from peftnas.search.progress import Board, Progress, value_words
from peftnas.search.records import Records
from peftnas.search.scores import Score, reason_of
from peftnas.search.standing import Standing
from peftnas.search.timing import Timing
from peftnas.search.wishes import Wish
from peftnas.search.work import Work

Stopped = Literal["done", "time", "interrupted", "exhausted", "failing", "disk"]

NOT_NEEDED = "no longer needed: the study has its finished trials"
HAND_BACK_S = 60.0
"""How long a run that is to end now waits for snapshots; later ones are not waited for."""

_POLL_S = 0.5
_ASK_POLL_S = 0.02


@dataclass
class Driver:
    """Runs a study to its limits; see :meth:`run`.

    Attributes:
        pool: the workers.
        records: of the search's study.
        intake: of new trials.
        mishaps: what becomes of trials that were lost.
        standing: of the study's trials.
        demand: of trials; knows the target and the clock.
        board: renewed at each event; holds the target and the deadline.
        progress: shows the board.
        log: keeps every event.
        wish: what somebody wants of the run; see ``wishes.py``.
        live: the file that ``status`` reads; ``None``: there is none.
        ahead: so many trials are proposed before a worker is free for them.
        first: work that comes before proposals: what an earlier run left, baselines.
        timing: of the results of this run.
    """

    pool: Pool
    records: Records
    intake: Intake
    mishaps: Mishaps
    standing: Standing
    demand: Demand
    board: Board
    progress: Progress
    log: EventLog
    wish: Callable[[], Wish]
    live: Live | None = None
    ahead: int = 1
    first: Sequence[Work] = ()
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        self._waiting = deque(self.first)
        self._running: dict[str, Work] = {}
        self._renew_board()

    def run(self) -> Stopped:
        """Train until the target, the deadline or the end of the space is reached.

        Trials that run at the deadline are finished. After a stop, what runs stays as it is in
        the storage: the next run goes on with it under its own number.

        Returns:
            Why it ended.
        """
        while (wish := self.wish()) != "now":
            self.demand.closing = wish == "finish"
            self._say_what_it_does()
            self._request()
            self._submit()
            idle = self.pool.idle > 0
            waits = idle and self._takes_proposals()
            event = self.pool.next_event(0.0 if waits else _POLL_S)
            if event is not None:
                self._ended(event)
            elif not self._may_go_on(idle):
                return self._end()
        self._hand_back()
        return "interrupted"

    def _say_what_it_does(self) -> None:
        if self.live is not None:
            self.live.costs.ask_s, self.live.costs.asks = self.intake.costs
            self.live.renew(finished=self.board.finished, waiting=len(self._waiting))

    def _hand_back(self) -> None:
        """Let what trains stop between two steps, so that the next run goes on from there."""
        self.pool.hand_back()
        until = time.monotonic() + HAND_BACK_S
        while self._running and time.monotonic() < until:
            event = self.pool.next_event(1.0)
            if event is not None:
                self._ended(event)

    # what to start

    def _request(self) -> None:
        """Have enough trials proposed for the workers that are or will be idle."""
        while self._wants_proposal():
            self.intake.request()

    def _submit(self) -> None:
        """Hand work to idle workers."""
        for large in [one for one in self._waiting if self.mishaps.too_large(one)]:
            self._waiting.remove(large)
            self._finished(large, TrialResult("failed", cause="out_of_memory", error=TOO_LARGE))
        while self.pool.idle:
            work = self._next_work()
            if work is None:
                return
            self._running[str(work.folder)] = work
            self.board.running[work.label] = self.board.clock()
            if self.board.first_start is None and work.records is self.records:
                self.board.first_start = self.board.clock()
            self.timing.start()
            self.log.write(
                "started",
                trial=work.number,
                baseline=work.plan.baseline,
                words=work.plan.words,
                rung=work.rung,
            )
            self.pool.submit(work.job())

    def _next_work(self) -> Work | None:
        """What the next idle worker does: what was left, a promotion, a new trial."""
        if self.demand.ends:
            return None
        for waiting in self._waiting:
            if self._may_start(waiting) and self.pool.fits(waiting.job()) == "now":
                self._waiting.remove(waiting)
                return waiting
        last = not self._running and not self._takes_proposals()
        work = self.standing.promote(self.intake.forecast, last)
        if work is not None or not self.demand.takes_new(self._running.values()):
            return work
        work = self.intake.enqueued() or self.intake.take(_ASK_POLL_S)
        self.board.refused = self.intake.refused
        return work

    def _may_start(self, work: Work) -> bool:
        return self.demand.admits(work, self._running.values())

    def _may_go_on(self, idle: bool) -> bool:
        """Whether something is under way, or waits for a worker to come up.

        Args:
            idle: whether there was a worker when work was handed out last.
        """
        if self._running or self._takes_proposals() or self._wants_proposal():
            return True
        if any(map(self._may_start, self._waiting)):
            return True
        # who is promoted is only asked for a worker
        return not idle and self.standing.waiting > 0 and not self.demand.ends

    def _takes_proposals(self) -> bool:
        """Whether some are on their way and will be trained."""
        return self.intake.requested > 0 and self.demand.takes_new(self._running.values())

    def _wants_proposal(self) -> bool:
        if self.intake.exhausted or self.intake.requested >= self.pool.idle + self.ahead:
            return False
        if not self.demand.takes_new(self._running.values()):
            return False
        under_way = [*self._running.values(), *self._waiting]
        return self.demand.lacks(under_way) - self.intake.requested > 0

    # what became of it

    def _ended(self, event: Event) -> None:
        """A worker does no more of a trial."""
        started = time.perf_counter()
        work = self._running.pop(event.job.folder)
        self.board.running.pop(work.label, None)
        after = self.mishaps.after(work, event)
        if isinstance(after, TrialResult):
            self._finished(work, after)
        elif isinstance(after, Work):
            self._waiting.appendleft(after)
            if isinstance(event, Lost):
                self.progress.note(f"{work.label}: it goes on elsewhere ({event.reason})")
        else:
            self._gave_up(work, after)
        if self.live is not None:
            self.live.costs.tell_s += time.perf_counter() - started
            self.live.costs.tells += 1

    def _finished(self, work: Work, result: TrialResult) -> None:
        score = work.records.scorer.score(result)
        if score.result.status == "paused":
            work.records.reached(work.number, work.rung, score)
        else:
            score = work.records.tell(work.number, result)
        self.timing.add(result, str(work.folder))
        self._log_result(work, score)
        if work.records is self.records:
            self._stands(work, score)
        else:
            shutil.rmtree(work.folder, ignore_errors=True)
        self.progress.note(f"{work.label}: {_ending(work, score)}")

    def _stands(self, work: Work, score: Score) -> None:
        """A trial of the search has a score, or failed."""
        self.standing.reached(work, score)
        self.intake.tell(work, score)
        self._count(score.result)
        self.board.trained += not (work.scored or score.failed)
        self._renew_board()

    def _log_result(self, work: Work, score: Score) -> None:
        result = score.result
        self.log.write(
            "finished",
            trial=work.number,
            baseline=work.plan.baseline,
            rung=work.rung,
            status=result.status,
            cause=result.cause,
            metrics=result.metrics,
            timing=result.timing,
        )

    def _gave_up(self, work: Work, decision: GiveUp) -> None:
        """A trial was lost too often for a reason that is not its own."""
        work.records.give_up(work.number, decision.reason)
        if work.records is not self.records:
            shutil.rmtree(work.folder, ignore_errors=True)
        else:
            self.standing.gave_up(work)
            self.intake.forget(work)
            self._count(None)
            self._renew_board()
        self.progress.note(f"{work.label}: given up, {decision.reason}")

    def _count(self, result: TrialResult | None) -> None:
        self.demand.failures.count(result)
        self.board.failed += result is None or result.status == "failed"

    def _renew_board(self) -> None:
        """Show the front; remove checkpoints that nobody needs."""
        names = [known.name for known in self.records.objectives]
        self.board.finished = self.standing.finished
        self.board.front = [
            (dict(zip(names, point.values, strict=True)), point.words)
            for point in self.standing.front.points()
        ]
        under_way = {
            work.number
            for work in (*self._running.values(), *self._waiting)
            if work.records is self.records
        }
        self.standing.keep_checkpoints(under_way)

    # how it ends

    def _end(self) -> Stopped:
        """Leave nothing running for ever; why it ended."""
        why = self._why_ended()
        for work in self._waiting:
            # what was begun goes on in the next run, where there can be one
            if why in ("done", "exhausted") and not work.scored:
                work.records.refuse(work.number, NOT_NEEDED)
        self._waiting.clear()
        if why in ("done", "exhausted"):
            self.standing.stop_waiting()
            self._renew_board()
        return why

    def _why_ended(self) -> Stopped:
        if self.board.target is not None and self.board.finished >= self.board.target:
            if self.demand.over and (self.standing.waiting or self._scored_waiting()):
                return self._by_time()
            if not self._scored_waiting():
                return "done"
        if self.demand.failing:
            return "failing"
        if self.intake.exhausted and not self.demand.over:
            return "exhausted"
        return self._by_time()

    def _scored_waiting(self) -> bool:
        """Whether trials that were to train on could not."""
        return any(work.scored for work in self._waiting)

    def _by_time(self) -> Stopped:
        """What nothing may start for any more."""
        if self.demand.closing:
            return "interrupted"
        return "disk" if self.demand.disk_full() else "time"


def _ending(work: Work, score: Score) -> str:
    """What became of a training, in one line."""
    result = score.result
    scores = ", ".join(f"{name} {value_words(x)}" for name, x in result.metrics.items())
    scores = "; ".join([scores, *(f"over a limit: {one}" for one in score.over)])
    at = f"at step {result.step}: " if result.status == "paused" else ""
    ending = f"failed, {reason_of(result)}" if score.failed else f"{at}{scores}"
    return f"{ending} ({result.timing.get('wall_s', 0):.1f} s)"
