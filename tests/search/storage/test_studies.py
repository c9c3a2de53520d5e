"""Studies in a storage: made whole, told apart, of which schema."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from peftnas.search.errors import UsageError
from peftnas.search.storage import (
    PatientStorage,
    differences,
    only_writer,
    open_storage,
    open_study,
    open_to_write,
    schema,
    sqlite_url,
    stored_content,
)
from peftnas.search.storage.schema import NUMBER, SCHEMA

CONTENT = {"space": {"methods": [{"kind": "lora", "rank": 8}]}, "seed": 0}
DIRECTIONS = ["maximize", "minimize"]


@pytest.fixture
def storage(tmp_path: Path) -> PatientStorage:
    return open_to_write(sqlite_url(tmp_path))


def test_a_name_with_other_content_is_refused_and_says_what_differs(
    storage: PatientStorage,
) -> None:
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    other = {"space": {"methods": [{"kind": "lora", "rank": 16}]}, "seed": 0}
    with pytest.raises(UsageError, match=r"space\.methods\[0\]\.rank: stored 8, now 16"):
        open_study(storage, "a", directions=DIRECTIONS, content=other)


def test_a_study_that_died_while_it_was_made_is_taken_over(storage: PatientStorage) -> None:
    study = optuna.create_study(study_name="a", storage=storage, directions=DIRECTIONS)
    study.set_user_attr(SCHEMA, NUMBER)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)


def test_a_study_that_another_process_is_making_is_left_alone(
    storage: PatientStorage, tmp_path: Path
) -> None:
    with only_writer(storage, tmp_path, "a"):
        optuna.create_study(study_name="a", storage=storage, directions=DIRECTIONS)
        other = open_to_write(sqlite_url(tmp_path))
        with pytest.raises(UsageError, match="'a' is being made by process .*; try again"):
            open_study(other, "a", directions=DIRECTIONS, content=CONTENT)
        open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
        open_study(other, "a", directions=DIRECTIONS, content=CONTENT)


def test_a_foreign_study_is_refused(storage: PatientStorage) -> None:
    optuna.create_study(study_name="a", storage=storage, directions=DIRECTIONS).ask()
    with pytest.raises(UsageError, match="not made by peftnas"):
        open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)


def test_a_study_from_before_there_was_a_number_is_read_and_gets_one(
    storage: PatientStorage, tmp_path: Path
) -> None:
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    assert study.user_attrs[SCHEMA] == NUMBER
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM study_user_attributes WHERE key = '{SCHEMA}'")
    assert stored_content(open_storage(sqlite_url(tmp_path)), "a") == CONTENT
    assert SCHEMA not in study.user_attrs
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    assert study.user_attrs[SCHEMA] == NUMBER


def test_a_study_of_a_newer_or_too_old_version_is_refused(
    storage: PatientStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    study.set_user_attr(SCHEMA, NUMBER + 1)
    newer = f"stored by a newer peftnas .schema {NUMBER + 1}, this one knows up to {NUMBER}"
    with pytest.raises(UsageError, match=newer):
        open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    with pytest.raises(UsageError, match="install that version"):
        stored_content(storage, "a")
    study.set_user_attr(SCHEMA, 0)
    monkeypatch.setattr(schema, "UPGRADES", {})
    with pytest.raises(UsageError, match="stored by an older peftnas .schema 0, this one knows 1"):
        stored_content(storage, "a")


def test_an_upgrade_goes_through_every_number(
    storage: PatientStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    study.set_user_attr(SCHEMA, 0)
    steps = []
    monkeypatch.setattr(schema, "NUMBER", 3)
    upgrades = {
        number: lambda kept, study_id, number=number: steps.append(number) for number in range(3)
    }
    monkeypatch.setattr(schema, "UPGRADES", upgrades)
    open_study(storage, "a", directions=DIRECTIONS, content=CONTENT)
    assert steps == [0, 1, 2] and study.user_attrs[SCHEMA] == 3


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
