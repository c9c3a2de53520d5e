"""Waiting for a storage that is away for a while, with growing pauses, and saying so."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from peftnas.search.storage.failures import (
    ERRORS,
    StorageAwayError,
    StorageFullError,
    failure_of,
    reason_of,
)

Answer = TypeVar("Answer")

LIMIT_S = 600.0
"""So long a write waits for its storage by default."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0
_GOES_ON = "what is finished is kept, and the same command goes on from there"


def silent(words: str) -> None:
    """Shows nothing."""


def on_stderr(words: str) -> None:
    """Shows what is waited for as a line on stderr; for what has no display."""
    if words:
        print(f"peftnas: waiting, {words}", file=sys.stderr)


@dataclass(frozen=True)
class Patience:
    """How long to wait for a storage, and who is told meanwhile.

    Attributes:
        limit_s: seconds from the first failure of a call to giving it up.
        waits: told what is waited for, and "" when it has come; ``Board.wait`` is one.
        unshown_s: seconds of waiting that are not worth a word.
        storage: the storage in words.
    """

    limit_s: float = LIMIT_S
    waits: Callable[[str], None] = field(default=silent)
    unshown_s: float = 1.0
    storage: str = "the storage"

    def call(
        self, act: Callable[[bool], Answer], *, kinds: tuple[str, ...] = ("busy", "away")
    ) -> Answer:
        """What ``act`` returns, called again while the storage fails in a way that passes.

        Args:
            act: told whether an earlier call of it failed; what that one was to write may then
                be written already, where its answer alone was lost.
            kinds: failures to wait out; see ``failures.Failure``.
        Raises:
            StorageAwayError: after ``limit_s``.
            StorageFullError: if there is no room, at once.
        """
        began, pause, told = time.monotonic(), _FIRST_PAUSE_S, False
        again = False
        while True:
            try:
                answer = act(again)
            except ERRORS as error:
                kind, why = failure_of(error), reason_of(error)
                if kind == "full":
                    raise StorageFullError(
                        f"there is no room left for {self.storage} ({why}); free some; {_GOES_ON}"
                    ) from error
                if kind not in kinds:
                    raise
                waited = time.monotonic() - began
                if waited >= self.limit_s:
                    raise StorageAwayError(
                        f"{self.storage} did not answer for {waited:.0f} s ({why}); see what "
                        f"holds or stopped it; {_GOES_ON}"
                    ) from error
                if waited >= self.unshown_s and not told:
                    told = True
                    self.waits(f"{self.storage} does not answer: {why}")
                time.sleep(min(pause, max(0.0, self.limit_s - waited)))
                pause, again = min(2 * pause, _LONGEST_PAUSE_S), True
            else:
                if told:
                    self.waits("")
                return answer
