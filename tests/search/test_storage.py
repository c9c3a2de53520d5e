"""Opening storages, telling two studies of one name apart, one writer at a time."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
import pytest

from peftnas.search.errors import UsageError
from peftnas.search.storage import (
    differences,
    only_writer,
    open_storage,
    open_study,
    sqlite_url,
    study_names,
)

CONTENT = {"space": {"methods": [{"kind": "lora", "rank": 8}]}, "seed": 0}
DIRECTIONS = ["maximize", "minimize"]


def test_sqlite_is_opened_in_wal_mode(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    with storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1


def test_the_same_study_is_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        storage = open_storage(sqlite_url(tmp_path), create=True)
        study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    assert study.study_name == "a"
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study_names(storage) == ["a"]


def test_a_name_with_other_content_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    other = {"space": {"methods": [{"kind": "lora", "rank": 16}]}, "seed": 0}
    with pytest.raises(UsageError, match=r"space\.methods\[0\]\.rank: stored 8, now 16"):
        open_study(storage, "a", directions=DIRECTIONS, content=other)


def test_a_study_that_died_while_it_was_made_is_taken_over(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    optuna.create_study(study_name="a", storage=storage, directions=DIRECTIONS)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)


def test_a_foreign_study_is_refused(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    optuna.create_study(study_name="a", storage=storage, directions=DIRECTIONS).ask()
    with pytest.raises(UsageError, match="not made by peftnas"):
        open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)


@pytest.mark.parametrize(
    ("kept", "new", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, ["a: stored 1, now True"]),
        ({"a": 1}, {"b": 1}, ["a: stored 1, now nothing", "b: stored nothing, now 1"]),
        ([1, 2], [1, 2, 3], [": stored [1, 2], now [1, 2, 3]"]),
        ({"a": [{"b": None}]}, {"a": [{"b": 2}]}, ["a[0].b: stored None, now 2"]),
    ],
)
def test_differences(kept: object, new: object, lines: list[str]) -> None:
    assert differences(kept, new) == lines


def test_storages_that_cannot_be_opened(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_text("this is no database " * 100)
    blocker = tmp_path / "file"
    blocker.write_text("")
    for url, words in [
        (f"sqlite:///{rubbish}", "file is not a database"),
        (f"sqlite:///{tmp_path}", "it is a folder"),
        (f"sqlite:///{blocker}/sub/study.db", "cannot be opened"),
        ("sqlite:///:memory:", "would be forgotten"),
        ("not a url", "must be a database URL"),
        ("nosuchdatabase://host/x", "cannot be opened"),
    ]:
        with pytest.raises(UsageError, match=words):
            open_storage(url, create=True)


def test_reading_does_not_make_a_storage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no study is stored at"):
        open_storage(sqlite_url(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    with only_writer(url, tmp_path, "a"):
        with pytest.raises(UsageError, match="being run by another process"):
            with only_writer(url, tmp_path, "a"):
                pass
        with only_writer(url, tmp_path / "b", "b"):
            pass
        with pytest.raises(UsageError, match="in use by the run of another study"):
            with only_writer(url, tmp_path, "b"):
                pass
    with only_writer(url, tmp_path, "a"):
        pass


def test_a_link_to_the_database_is_the_database(tmp_path: Path) -> None:
    file, link = tmp_path / "study.db", tmp_path / "elsewhere" / "linked.db"
    open_storage(f"sqlite:///{file}", create=True)
    link.parent.mkdir()
    link.symlink_to(file)
    with (
        only_writer(f"sqlite:///{file}", tmp_path, "a"),
        pytest.raises(UsageError, match="being run by another process"),
        only_writer(f"sqlite:///{link}", tmp_path / "out", "a"),
    ):
        pass


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    storage = open_storage(sqlite_url(tmp_path), create=True)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    writer = sqlite3.connect(tmp_path / "study.db")
    try:
        writer.execute("BEGIN IMMEDIATE")
        assert study_names(open_storage(sqlite_url(tmp_path))) == ["a"]
    finally:
        writer.close()
