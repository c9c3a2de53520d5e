"""What happens when a worker dies: its trial is run again, a limited number of times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Resubmit:
    """Run the trial again on another worker."""


@dataclass(frozen=True)
class GiveUp:
    """Record the trial as failed.

    Attributes:
        reason: one sentence for the record.
    """

    reason: str


@dataclass(frozen=True)
class FaultPolicy:
    """How often a trial may lose its worker (killed, its node gone) before it is given up.

    A trial that fails by itself (out of memory inside torch, NaN, an exception) is not lost: its
    result says so, and it is not run again.

    Attributes:
        max_losses: the loss with this number ends the trial; at least 1.
    """

    max_losses: int = 3

    def __post_init__(self) -> None:
        if self.max_losses < 1:
            raise ValueError(f"max_losses must be at least 1, got {self.max_losses}")

    def after(self, losses: int, reason: str) -> Resubmit | GiveUp:
        """What to do with a trial after its ``losses``-th loss.

        Args:
            losses: how often this trial has lost its worker, this time included.
            reason: what the cluster said of the last loss.
        """
        if losses < self.max_losses:
            return Resubmit()
        return GiveUp(f"its worker died {losses} times; the last time: {reason}")
