"""Which process holds a study, and whether it is still there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from peftnas.search.errors import UsageError
from peftnas.search.storage import Patience, only_writer, open_to_write, sqlite_url, writer
from peftnas.search.storage.holder import Holder, started_at, this_process
from peftnas.search.storage.lease import look
from tests.search.storage.places import SqlitePlace


def test_this_process_is_here_and_reads_back() -> None:
    me = this_process()
    assert me.presence() == "here" and me.pid == os.getpid()
    assert Holder.from_json(me.to_json()) == me
    assert me.words().startswith(f"process {me.pid} on {me.host} since 20")


def test_a_process_is_gone_when_it_is_killed_and_not_yet_buried() -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    there = replace(this_process(), pid=sleeper.pid, started=started_at(sleeper.pid) or 0.0)
    assert there.presence() == "here"
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert there.presence() == "here"  # paused is not gone
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert there.presence() == "gone"
    sleeper.wait()
    assert there.presence() == "gone"


def test_another_start_or_another_machine() -> None:
    me = this_process()
    assert replace(me, started=me.started + 1).presence() == "gone"
    assert replace(me, machine="another boot").presence() == "elsewhere"


def test_one_writer_of_a_study_and_of_a_folder(tmp_path: Path) -> None:
    storage = open_to_write(sqlite_url(tmp_path))
    with only_writer(storage, tmp_path, "a"):
        with pytest.raises(UsageError, match=f"is being run by process {os.getpid()} on"):
            with only_writer(open_to_write(sqlite_url(tmp_path)), tmp_path / "other", "a"):
                pass
        with only_writer(open_to_write(sqlite_url(tmp_path)), tmp_path / "b", "b"):
            pass
        with pytest.raises(UsageError, match="in use by the run of another study"):
            with only_writer(open_to_write(sqlite_url(tmp_path)), tmp_path, "b"):
                pass
    assert look(storage.engine, "a") is None
    with only_writer(storage, tmp_path, "a"):
        pass


def test_a_study_that_could_not_be_given_up_is_free_for_the_same_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_FAREWELL_S", 0.1)
    place, waits = SqlitePlace(tmp_path), []
    storage = open_to_write(place.url, Patience(30.0, waits.append, 0.05))
    with ExitStack() as outage:
        with only_writer(storage, tmp_path, "a"):
            outage.enter_context(place.away(1.0))
        assert "could not be handed back: the storage did not answer" in waits[-1]
    seen = look(storage.engine, "a")
    assert seen is not None and seen.holder.pid == os.getpid()
    with only_writer(storage, tmp_path, "a"):
        pass
    assert look(storage.engine, "a") is None
