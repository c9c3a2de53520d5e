"""A storage that does what it is asked and whose answer does not arrive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peftnas.search.storage import StudyStorage


@contextmanager
def answers_lost(storage: StudyStorage) -> Iterator[list[int]]:
    """Every other commit is carried out and then reported as failed.

    The failure is raised where the driver of the database would raise it. Gives a list with one
    entry a lost answer.
    """
    dialect = storage.engine.dialect
    commit, lost, commits = dialect.do_commit, [], [0]

    def loses_its_answer(connection: Any) -> None:
        commit(connection)
        commits[0] += 1
        if commits[0] % 2:
            lost.append(commits[0])
            # SQLite's failures are known by their words, others by their class
            raise dialect.loaded_dbapi.OperationalError("database is locked: the answer is lost")

    dialect.do_commit = loses_its_answer  # type: ignore[method-assign]
    try:
        yield lost
    finally:
        dialect.do_commit = commit  # type: ignore[method-assign]
