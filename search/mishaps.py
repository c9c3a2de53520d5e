"""Mishaps: what follows when a trial was lost, or ran out of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from peftnas.search.cluster.faults import Cause, FaultPolicy, GiveUp, Resubmit
from peftnas.search.jobs import TrialResult
from peftnas.search.log import EventLog
from peftnas.search.pool_protocol import Finished, Lost, Pool
from peftnas.search.work import Work

TOO_LARGE = "no worker has room for it any more"


class Mishaps:
    """Decides by ``cluster/faults.py``, and counts by trial and cause.

    Args:
        pool: the workers, whose memory counts.
        log: keeps every event.
        written: the result that a worker had written before it was lost, if it had.
        policy: what is tried again, and how often.
    """

    def __init__(
        self,
        pool: Pool,
        log: EventLog,
        written: Callable[[Work], TrialResult | None] = lambda work: None,
        policy: FaultPolicy | None = None,
    ) -> None:
        self._pool, self._log, self._written = pool, log, written
        self._policy = policy or FaultPolicy()

    def after(self, work: Work, event: Finished | Lost) -> Work | TrialResult | GiveUp:
        """What becomes of work that a worker does no more.

        Returns:
            The work, if it is to be done again; its result, failed if the trial is to blame for
            the end; a ``GiveUp`` from which no sampler may learn.
        """
        if isinstance(event, Finished):
            result = event.result
            if result.status == "handed_back":
                self._log.write("handed back", trial=work.number, step=result.step)
                return work
            if result.cause != "out_of_memory":
                return result
            decision = self._decide(work, "device_memory", result.error, event.memory_bytes)
            return result if isinstance(decision, GiveUp) else self._again(work, decision)
        known = self._written(work)
        if known is not None:
            return known
        decision = self._decide(work, event.cause, event.reason, event.memory_bytes)
        if isinstance(decision, Resubmit):
            return self._again(work, decision)
        if decision.lesson == "infeasible":
            return TrialResult("failed", cause="lost", error=decision.reason)
        return decision

    def too_large(self, work: Work) -> bool:
        """Whether there is no worker that has room for it."""
        return self._pool.fits(work.job()) == "never"

    def _decide(self, work: Work, cause: Cause, reason: str, held: int) -> Resubmit | GiveUp:
        known = self._policy.rules[cause]
        losses = 0 if known.retries is None else work.records.lost(work.number, cause)
        self._log.write(
            "lost",
            trial=work.number,
            baseline=work.plan.baseline,
            cause=cause,
            reason=reason,
            losses=losses,
        )
        largest = max((one.memory_bytes for one in self._pool.workers()), default=0)
        return self._policy.after(cause, losses, reason, memory_bytes=held, largest_bytes=largest)

    def _again(self, work: Work, decision: Resubmit) -> Work:
        return replace(work, memory_bytes=max(work.memory_bytes, decision.memory_bytes))
