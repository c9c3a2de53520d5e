"""Ctrl-C and SIGTERM: the first asks the driver to end, the second breaks off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self


class StopRequest:
    """While it is entered, the first signal is kept as a wish to stop.

    Only the main thread can receive signals; in another one nothing changes.

    Args:
        note: told once, when the first signal is noticed.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._wanted = self._noted = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether a stop is wanted."""
        if self._wanted and not self._noted:
            self._noted = True
            self._note("stopping: running trials are handed back; once more breaks off")
        return self._wanted

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self._wanted:
            raise KeyboardInterrupt
        self._wanted = True  # told when it is asked for: a handler may not write to a stream
