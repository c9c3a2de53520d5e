"""Waiting for a storage: what passes, what stops, what is said."""

from __future__ import annotations

import gc
import sqlite3
from pathlib import Path

import optuna
import psutil
import pytest
import sqlalchemy

from peftnas.search.storage import (
    Patience,
    StorageAwayError,
    StorageFullError,
    on_stderr,
    open_storage,
    open_study,
    open_to_write,
    sqlite_url,
)
from peftnas.search.storage.failures import failure_of
from tests.search.storage.places import SqlitePlace
from tests.search.storage.scenes import tell
from tests.search.storage.writing_process import CONTENT, DIRECTIONS


def test_after_its_limit_a_write_gives_up_and_nothing_is_lost(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    storage = open_to_write(place.url, Patience(0.3, unshown_s=0.05))
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    tell(study, 0)
    with place.away(2.0):
        with pytest.raises(StorageAwayError, match="did not answer for 0 s .database is locked."):
            study.ask()
    tell(study, 1)
    assert [trial.values for trial in study.trials] == [[0.0, 1.0], [1.0, 1.0]]


def test_without_room_it_stops_at_once_and_goes_on_when_there_is_some(tmp_path: Path) -> None:
    storage = open_to_write(sqlite_url(tmp_path))
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    tell(study, 0)
    with storage.engine.connect() as connection:  # the only one of the pool: it is used again
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageFullError, match="no room left for the storage .*free some"):
        for _ in range(100):
            study.ask().set_user_attr("large", "x" * 100_000)
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    tell(study, 1)
    found = optuna.load_study(study_name="a", storage=open_storage(sqlite_url(tmp_path))).trials
    assert found[0].values == [0.0, 1.0] and found[-1].values == [1.0, 1.0]


def test_a_lasting_failure_is_raised_at_once(tmp_path: Path) -> None:
    waits: list[str] = []
    storage = open_to_write(sqlite_url(tmp_path), Patience(60.0, waits.append, 0.0))
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE trial_system_attributes")
    with pytest.raises(optuna.exceptions.StorageInternalError):
        study.ask()
    assert waits == []


def test_what_is_raised_while_waiting_ends_the_waiting(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)

    def interrupted(words: str) -> None:
        raise KeyboardInterrupt

    storage = open_to_write(place.url, Patience(60.0, interrupted, 0.05))
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    with place.away(1.0):
        with pytest.raises(KeyboardInterrupt):
            study.ask()


class _Postgres(Exception):
    def __init__(self, code: str | None) -> None:
        self.sqlstate = code


def _wrapped(below: Exception, invalidated: bool = False) -> Exception:
    """As Optuna raises what SQLAlchemy raises from what a driver raised."""
    error = sqlalchemy.exc.OperationalError("SELECT 1", {}, below)
    error.connection_invalidated = invalidated
    outer = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (sqlite3.OperationalError("database is locked"), "busy"),
        (sqlite3.OperationalError("database table is locked: trials"), "busy"),
        (sqlite3.OperationalError("disk I/O error"), "away"),
        (sqlite3.OperationalError("database or disk is full"), "full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "lasting"),
        (sqlite3.DatabaseError("database disk image is malformed"), "lasting"),
        (_Postgres("57P01"), "away"),
        (_Postgres("08006"), "away"),
        (_Postgres("40P01"), "busy"),
        (_Postgres("53100"), "full"),
        (_Postgres("42P01"), "lasting"),
        (_Postgres(None), "away"),
    ],
)
def test_kinds_of_failures(error: Exception, kind: str) -> None:
    assert failure_of(_wrapped(error)) == kind
    assert failure_of(ValueError("no failure of a storage")) == "lasting"


def test_words_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    on_stderr("the storage does not answer")
    on_stderr("")
    assert capsys.readouterr().err == "peftnas: waiting, the storage does not answer\n"


def test_connections_are_closed_with_their_storage(tmp_path: Path) -> None:
    def is_open() -> bool:
        return any(one.path == str(tmp_path / "study.db") for one in psutil.Process().open_files())

    storage = open_to_write(sqlite_url(tmp_path))
    assert is_open()
    del storage
    gc.collect()
    assert not is_open()
