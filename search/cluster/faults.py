"""What becomes of a trial that was lost or ran out of memory: one table, by cause.

What each cause means, and the same table in words: docs/cluster.md.

"Infeasible" means told as complete with the worst values and a violated constraint, as a training
that failed by its own fault; "nothing" means told as failed, which samplers do not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from peftnas.search.pool_protocol import LossCause

Cause = LossCause | Literal["device_memory"]
Lesson = Literal["nothing", "infeasible"]


@dataclass(frozen=True)
class Rule:
    """What follows from one cause.

    Attributes:
        retries: how often a trial runs again after it; ``None``: without end, and not counted.
        lesson: what the sampler learns when it does not run again.
        larger: whether it runs again only on a worker with more memory than the one it was on.
        words: what happened, for the record; the subject is the trial.
    """

    retries: int | None
    lesson: Lesson
    larger: bool
    words: str


RULES: Mapping[Cause, Rule] = {
    "worker_killed": Rule(2, "infeasible", False, "its worker died"),
    "node_gone": Rule(20, "nothing", False, "its node went away"),
    "hangs": Rule(1, "infeasible", False, "it hung"),
    "host_memory": Rule(1, "infeasible", True, "its machine ran out of memory"),
    "device_memory": Rule(20, "infeasible", True, "its device ran out of memory"),
    "cannot_save": Rule(2, "nothing", False, "its checkpoint could not be written"),
    "handed_back": Rule(None, "nothing", False, "it was handed back"),
}


@dataclass(frozen=True)
class Resubmit:
    """Run the trial again.

    Attributes:
        memory_bytes: for ``TrialJob.memory_bytes``: what the next worker must have at least; 0:
            any will do.
        counted: whether this loss counts.
    """

    memory_bytes: int = 0
    counted: bool = True


@dataclass(frozen=True)
class GiveUp:
    """Do not run the trial again.

    Attributes:
        reason: one sentence for the record.
        lesson: what the sampler learns.
    """

    reason: str
    lesson: Lesson


@dataclass(frozen=True)
class FaultPolicy:
    """What happens to a trial after a fault.

    A trial that fails by itself (NaN, an exception) is not lost: its result says so, and it is
    not run again.

    Attributes:
        rules: by cause.
    """

    rules: Mapping[Cause, Rule] = field(default_factory=lambda: RULES)

    def after(
        self,
        cause: Cause,
        losses: int,
        reason: str,
        *,
        memory_bytes: int = 0,
        largest_bytes: int = 0,
    ) -> Resubmit | GiveUp:
        """What to do with a trial.

        Args:
            cause: of this fault.
            losses: how often the trial had a fault of this cause, this time included.
            reason: what is known of it, one sentence.
            memory_bytes: of the worker that it was on; 0 when not known.
            largest_bytes: of the largest worker there is; 0 when not known.
        """
        rule = self.rules[cause]
        if rule.retries is None:
            return Resubmit(counted=False)
        larger = rule.larger and memory_bytes > 0 and largest_bytes > memory_bytes
        # memory that ran out on a host was shared: the same trial may have room another time
        needs_larger = cause == "device_memory"
        if losses > rule.retries or (needs_larger and not larger):
            times = "" if losses == 1 else f" {losses} times"
            last = reason if losses == 1 else f"the last time: {reason}"
            return GiveUp(f"{rule.words}{times}; {last}", rule.lesson)
        return Resubmit(memory_bytes + 1 if larger else 0)
