"""The first signal asks to stop and is told once; the second breaks off."""

from __future__ import annotations

import os
import signal

import pytest

from peftnas.search.interrupt import StopRequest


def test_a_signal_is_kept_and_told_when_it_is_asked_for() -> None:
    notes: list[str] = []
    with StopRequest(notes.append) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGTERM)
        assert notes == []  # a handler that writes to a stream may break into a write to it
        assert stop() and stop()
        assert len(notes) == 1 and "once more breaks off" in notes[0]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
