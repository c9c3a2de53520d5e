"""Watchdog: when a running trial counts as hanging, from its signs of life alone."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_S = 60.0
STEPS = 20
BEFORE_FIRST_S = 900.0
LONGEST = 4


@dataclass(frozen=True)
class Patience:
    """How long a trial may be silent.

    Attributes:
        step_timeout_s: the user's limit between two signs of life; ``None``: the larger of
            :data:`LEAST_S` seconds, :data:`STEPS` median steps of this trial, and :data:`LONGEST`
            times the longest silence of a trial that came to its end.
        first_s: limit before the first sign: a backbone of another number type may be loaded,
            costs may be measured.
    """

    step_timeout_s: float | None = None
    first_s: float = BEFORE_FIRST_S

    def __post_init__(self) -> None:
        if self.step_timeout_s is not None and not self.step_timeout_s > 0:
            raise ValueError(f"step_timeout_s must be above 0, got {self.step_timeout_s:g}")

    def limit_s(self, beats: int, median_s: float, longest_s: float) -> float:
        """Seconds of silence after which a trial hangs.

        Args:
            beats: signs of life so far.
            median_s: median duration of a step of this trial; 0 when it is not known.
            longest_s: the longest silence of any trial that came to its end; 0 without one.
        """
        if beats <= 1:  # the first one only says that it began
            return max(self.first_s, self.step_timeout_s or 0.0)
        if self.step_timeout_s is not None:
            return self.step_timeout_s
        return max(LEAST_S, STEPS * median_s, LONGEST * longest_s)


@dataclass
class Watch:
    """The signs of life of one running trial, on the clock of the process that watches.

    Attributes:
        since: when the trial was handed over, or last gave a sign; seconds on that clock.
        beats: signs of life so far.
        step: optimiser steps that it has made.
        median_s: median duration of a step, as the worker says.
        longest_s: the longest silence seen between two signs.
    """

    since: float
    beats: int = 0
    step: int = 0
    median_s: float = 0.0
    longest_s: float = 0.0

    def seen(self, beats: int, step: int, median_s: float, now: float) -> None:
        """Take a report in; one that says nothing new changes nothing."""
        if beats <= self.beats:
            return
        if self.beats > 1:
            self.longest_s = max(self.longest_s, now - self.since)
        self.beats, self.step, self.median_s, self.since = beats, step, median_s, now

    def hangs(self, patience: Patience, longest_s: float, now: float) -> str | None:
        """In words, how long it has been silent when that is too long; else ``None``."""
        limit = patience.limit_s(self.beats, self.median_s, longest_s)
        silent = now - self.since
        if silent <= limit:
            return None
        where = f"after step {self.step}" if self.beats > 1 else "before its first step"
        return (
            f"hangs: no sign of life for {silent:.0f} s {where}, where {limit:.0f} s are allowed"
        )
