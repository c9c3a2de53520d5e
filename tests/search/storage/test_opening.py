"""Opening storages: what is made, what is refused, what is said of other databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from peftnas.search.errors import UsageError
from peftnas.search.storage import (
    MEMORY,
    Patience,
    PatientStorage,
    StudyStorage,
    open_storage,
    open_study,
    open_to_write,
    sqlite_url,
    study_names,
    study_storage,
    untested_note,
    urls,
)
from peftnas.search.storage.urls import parsed, shown
from tests.search.storage.places import SqlitePlace
from tests.search.storage.writing_process import CONTENT, DIRECTIONS


def test_sqlite_is_opened_in_wal_mode(tmp_path: Path) -> None:
    for storage in (open_to_write(sqlite_url(tmp_path)), open_storage(sqlite_url(tmp_path))):
        with storage.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


@pytest.mark.parametrize(
    "open_it", [lambda url: open_storage(url, create=True), open_to_write], ids=["read", "write"]
)
def test_storages_that_cannot_be_opened(tmp_path: Path, open_it: object) -> None:
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_text("this is no database " * 100)
    blocker = tmp_path / "file"
    blocker.write_text("")
    for url, words in [
        (f"sqlite:///{rubbish}", "file is not a database"),
        (f"sqlite:///{tmp_path}", "it is a folder"),
        (f"sqlite:///{blocker}/sub/study.db", "cannot be opened"),
        ("sqlite:///:memory:", "would be forgotten at the end; name a file.*or say memory"),
        ("sqlite://", "would be forgotten"),
        ("journal.log", "must be a database URL"),
        ("not a url", "must be a database URL"),
        ("nosuchdatabase://host/x", "cannot be opened.*install the driver"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/x", "cannot be opened"),
    ]:
        with pytest.raises(UsageError, match=words) as refused:
            open_it(url)  # type: ignore[operator]
        assert "secret" not in str(refused.value) and "\n" not in str(refused.value)


def test_reading_does_not_make_a_storage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no study is stored at"):
        open_storage(sqlite_url(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_the_database_is_the_database(tmp_path: Path) -> None:
    file, link = tmp_path / "study.db", tmp_path / "elsewhere" / "linked.db"
    open_study(open_to_write(f"sqlite:///{file}"), "a", directions=DIRECTIONS, content=CONTENT)
    link.parent.mkdir()
    link.symlink_to(file)
    assert study_names(open_storage(f"sqlite:///{link}")) == ["a"]


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    open_study(open_to_write(sqlite_url(tmp_path)), "a", directions=DIRECTIONS, content=CONTENT)
    writer = sqlite3.connect(tmp_path / "study.db")
    try:
        writer.execute("BEGIN IMMEDIATE")
        assert study_names(open_storage(sqlite_url(tmp_path))) == ["a"]
    finally:
        writer.close()


def test_a_locked_storage_is_waited_for_when_it_is_opened(tmp_path: Path) -> None:
    place, waits = SqlitePlace(tmp_path), []
    tmp_path.mkdir(exist_ok=True)
    sqlite3.connect(place.file).close()
    with place.away(0.5):
        opened = open_to_write(place.url, Patience(30.0, waits.append, 0.05))
    assert study_names(opened) == [] and waits[-1] == ""
    assert waits[0] == "the storage does not answer: database is locked"


def test_a_storage_that_stays_locked_is_refused_by_name(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    sqlite3.connect(place.file).close()
    with place.away(1.0):
        with pytest.raises(UsageError, match="database is locked; see which process holds it"):
            open_to_write(place.url, Patience(0.2, unshown_s=0.05))


def test_memory_is_asked_for_by_its_name_and_goes_with_the_process(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from peftnas.search.storage import *
study = open_study(open_to_write({MEMORY!r}), "a", directions=["maximize"], content={{}})
study.tell(study.ask(), 1.0)
storage = open_storage({MEMORY!r})
print(study_names(storage), storage.engine.url.database)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    names, _, file = done.stdout.strip().rpartition(" ")
    assert names == "['a']" and not Path(file).exists(), done.stderr
    with pytest.raises(UsageError, match="memory is forgotten with the process"):
        open_storage(MEMORY)


def test_other_databases_are_said_to_be_untested() -> None:
    assert untested_note("sqlite:///x.db") == untested_note(MEMORY) == ""
    assert untested_note("postgresql+psycopg://me@host/x") == ""
    assert "tested on sqlite and postgresql only" in untested_note("mysql+pymysql://me@host/x")


def test_an_untested_database_is_opened_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urls, "TESTED", ("postgresql",))
    with pytest.warns(UserWarning, match="storage sqlite: Optuna knows it, peftnas is tested on"):
        assert study_names(open_to_write(sqlite_url(tmp_path))) == []


def test_tables_of_an_optuna_that_is_not_known_are_read_by_optuna(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(
        open_to_write(sqlite_url(tmp_path)), "a", directions=DIRECTIONS, content=CONTENT
    )
    study.tell(study.ask(), [1.0, 2.0])
    monkeypatch.setattr(study_storage, "KNOWN_VERSIONS", ())
    monkeypatch.setattr(study_storage, "read_trials", None)
    with pytest.warns(UserWarning, match="read through Optuna itself, which is slow"):
        storage = open_storage(sqlite_url(tmp_path))
    assert optuna.load_study(study_name="a", storage=storage).trials[0].values == [1.0, 2.0]


def test_a_driver_gets_the_patient_one(tmp_path: Path) -> None:
    assert isinstance(open_to_write(sqlite_url(tmp_path)), PatientStorage)
    assert type(open_storage(sqlite_url(tmp_path))) is StudyStorage


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://host/db?user=me&password=secret",
        "postgresql+psycopg://me:secret@host/db",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    assert "secret" not in shown(url) and "***" in shown(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg:/me:secret@host/db",
        "postgresql://me:secret:host",
        "postgresql://me:secret@host:port/db",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="must be a database URL") as refused:
        parsed(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
