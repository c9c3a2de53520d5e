"""How the time of a run was spent: per trial, and what part of the workers' time was training."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from peftnas.search.jobs import TIMES, TrialResult


@dataclass
class Timing:
    """Collects the timing of results.

    Attributes:
        clock: seconds; a monotonic clock.
        results: the timing of each result so far, what came before it left out.
    """

    clock: Callable[[], float] = time.monotonic
    results: list[dict[str, float]] = field(default_factory=list)
    _sums: dict[str, dict[str, float]] = field(default_factory=dict)
    _first: float | None = None
    _last: float | None = None

    def start(self) -> None:
        """A worker got a trial."""
        if self._first is None:
            self._first = self.clock()

    def remember(self, trial: str, timing: Mapping[str, float]) -> None:
        """What a trial had taken in earlier runs, so that it does not count in this one."""
        self._sums[trial] = dict(timing)

    def add(self, result: TrialResult, trial: str = "") -> None:
        """A worker gave a result.

        Args:
            result: whose times are sums over all rungs of its trial.
            trial: the same for all results of one trial; "": it has no other.
        """
        before = self._sums.get(trial, {})
        self.results.append({name: s - before.get(name, 0.0) for name, s in result.timing.items()})
        if trial:
            self._sums[trial] = dict(result.timing)
        self._last = self.clock()

    def summary(self, workers: int) -> dict[str, Any]:
        """Figures for a report.

        Args:
            workers: how many there were.
        Returns:
            ``trials``; the sum of each of ``jobs.TIMES``; ``trial_median_s``; ``setup_median_s``
            (nearly all trials find a warm worker); ``worker_wall_s``, the workers' time from the
            first trial handed out to the last result; ``busy_fraction``, the part of it spent in
            training and evaluation. Seconds; only ``trials`` when there was no result.
        """
        if not self.results or self._first is None or self._last is None:
            return {"trials": 0}
        sums = {name: sum(times.get(name, 0.0) for times in self.results) for name in TIMES}
        wall = workers * (self._last - self._first)
        return {
            "trials": len(self.results),
            **sums,
            "trial_median_s": statistics.median(t.get("wall_s", 0.0) for t in self.results),
            "setup_median_s": statistics.median(t.get("setup_s", 0.0) for t in self.results),
            "worker_wall_s": wall,
            "busy_fraction": (sums["train_s"] + sums["evaluate_s"]) / wall if wall else 0.0,
        }
