"""Why a storage did not do what it was asked: which failures pass, and which stop a run."""

from __future__ import annotations

import sqlite3
from typing import Literal

import optuna
import sqlalchemy

from peftnas.search.errors import StorageError

Failure = Literal["busy", "away", "full", "lasting"]
"""``busy``: somebody holds it; ``away``: not reached; ``full``: no room; ``lasting``: the rest."""


ERRORS: tuple[type[Exception], ...] = (
    sqlalchemy.exc.SQLAlchemyError,
    sqlite3.Error,
    optuna.exceptions.StorageInternalError,
)
"""What Optuna, SQLAlchemy and SQLite raise when a storage fails."""


class StorageAwayError(StorageError):
    """It did not answer for longer than was to be waited."""


class StorageFullError(StorageError):
    """There is no room left where it lies."""


class LeaseLostError(StorageError):
    """Another process has taken the study over."""


_SQLITE: dict[str, Failure] = {
    "locked": "busy",
    "busy": "busy",
    "unable to open database file": "away",
    "disk i/o error": "away",
    "disk is full": "full",
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES: dict[str, Failure] = {
    "08": "away",  # connection exceptions
    "57P": "away",  # the server shuts down, crashed, or starts up
    "53300": "busy",  # too many connections
    "40001": "busy",  # serialisation
    "40P01": "busy",  # deadlock
    "55P03": "busy",  # a lock was not to be had
    "53100": "full",
}


def failure_of(error: BaseException) -> Failure:
    """What kind of failure an error of :data:`ERRORS` is.

    One that is not known counts as lasting: it is raised, never waited for.
    """
    for cause in _causes(error):
        if isinstance(cause, sqlite3.Error):
            return _by_words(str(cause).lower())
        code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        if code:
            return _by_code(str(code))
        if isinstance(cause, sqlalchemy.exc.DBAPIError) and cause.connection_invalidated:
            return "away"
    for cause in _causes(error):
        # a client that lost its server, or never reached it, has no code from it
        if isinstance(cause, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError):
            return "away"
    return "lasting"


def is_there_already(error: BaseException) -> bool:
    """Whether a table, or its first row, could not be made since another process just made it."""
    return any(
        isinstance(cause, sqlalchemy.exc.IntegrityError) or "already exists" in str(cause)
        for cause in _causes(error)
    )


def reason_of(error: BaseException) -> str:
    """The database's own words, in one line."""
    last = _causes(error)[-1]
    lines = str(last).strip().splitlines() or [type(last).__name__]
    return lines[0].rstrip(".")


def _by_words(words: str) -> Failure:
    for part, kind in _SQLITE.items():
        if part in words:
            return kind
    return "lasting"


def _by_code(code: str) -> Failure:
    for start, kind in _POSTGRES.items():
        if code.startswith(start):
            return kind
    return "lasting"


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, the database's own last."""
    found = [error]
    while True:
        last = found[-1]
        below = getattr(last, "orig", None) or last.__cause__
        if below is None or below in found:
            return found
        found.append(below)
