"""Demand: what a run may still start, by its target, its clock, its failures and wishes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from peftnas.search.jobs import TrialResult
from peftnas.search.progress import Board
from peftnas.search.records import Records
from peftnas.search.work import Work

OnError = Literal["continue", "stop"]

FAILED_AT_FIRST = 5
"""So many failed trainings before any finished one stop the search."""

FAILED_IN_A_ROW = 20
"""So many failed trainings in a row stop the search at any time."""


@dataclass
class Failures:
    """Counts the trainings of a run that failed.

    Attributes:
        most: so many may fail in all, one more ends the run; ``None``: as many as happen, but
            not ``FAILED_AT_FIRST`` at first and not ``FAILED_IN_A_ROW``.
        on_error: whether the first exception of a training ends the run.
    """

    most: int | None = None
    on_error: OnError = "continue"
    _in_all: int = 0
    _in_a_row: int = 0
    _error: bool = False

    def count(self, result: TrialResult | None) -> None:
        """A training ended; ``None``: it was given up."""
        if result is not None and result.status != "failed":
            self._in_a_row = 0
            return
        self._in_all += 1
        self._in_a_row += 1
        self._error |= result is not None and result.cause == "error"

    def too_many(self, finished: int) -> bool:
        """Whether the run ends for them.

        Args:
            finished: trials of the study that have a score.
        """
        if self._error and self.on_error == "stop":
            return True
        if self.most is not None and self._in_all > self.most:
            return True
        return self._in_a_row >= (FAILED_IN_A_ROW if finished else FAILED_AT_FIRST)


@dataclass
class Demand:
    """Says what may be started.

    Attributes:
        board: holds the target, the deadline and the trials that have a score.
        records: of the search's study; baselines do not count.
        failures: of this run.
        closing: whether somebody wants that nothing new starts.
        disk_full: whether checkpoints are over the limit of the run.
    """

    board: Board
    records: Records
    failures: Failures = field(default_factory=Failures)
    closing: bool = False
    disk_full: Callable[[], bool] = lambda: False

    @property
    def over(self) -> bool:
        """Whether nothing may start any more, by the clock, a wish or the disk."""
        if self.closing or self.disk_full():
            return True
        return self.board.deadline is not None and self.board.clock() >= self.board.deadline

    @property
    def ends(self) -> bool:
        """Whether nothing may start any more, for whatever reason."""
        return self.over or self.failing

    @property
    def failing(self) -> bool:
        """Whether too many trainings failed for new ones to start."""
        return self.failures.too_many(self.board.finished)

    def lacks(self, under_way: Iterable[Work]) -> float:
        """How many trials the study still needs when those under way get their first score."""
        if self.board.target is None:
            return float("inf")
        ours = sum(work.records is self.records and not work.scored for work in under_way)
        return self.board.target - self.board.finished - ours

    def admits(self, work: Work, running: Iterable[Work]) -> bool:
        """Whether there is time for work, and the study is not full without it."""
        if self.ends:
            return False
        if work.records is not self.records or work.scored:
            return True
        return self.lacks(running) > 0

    def takes_new(self, running: Iterable[Work]) -> bool:
        """Whether a new trial may be started."""
        return not self.ends and self.lacks(running) > 0
