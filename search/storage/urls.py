"""What a storage's URL names: a SQLite file, a server, or nothing that outlives the process."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import URL, make_url

from peftnas.search.errors import UsageError

MEMORY = "memory"
"""In place of a URL: a storage of this process alone, forgotten when it ends."""

_SECRETS = ("password", "sslpassword", "passfile")

TESTED = ("sqlite", "postgresql")
"""Databases that the tests of this package run on."""


def sqlite_url(folder: Path) -> str:
    """The URL of the default storage of a study whose files lie in ``folder``."""
    return f"sqlite:///{(folder / 'study.db').absolute()}"


def parsed(url: str) -> URL:
    """The parts of a URL.

    Raises:
        UsageError: if it is none.
    """
    if url == MEMORY:
        return make_url(sqlite_url(Path(_memory_folder().name)))
    try:
        return make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        # not chained: the reason may spell the password
        raise UsageError(
            "storage must be a database URL such as sqlite:///runs/study.db or "
            f"postgresql+psycopg://user@host/database, got {_beginning(url)!r}"
        ) from None


def sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; ``None`` for other databases.

    Raises:
        UsageError: if the URL names no file: its trials would be lost without a word.
    """
    found = parsed(url)
    if found.get_backend_name() != "sqlite":
        return None
    if found.database in (None, "", ":memory:"):
        raise UsageError(
            f"storage {url!r} would be forgotten at the end; name a file: sqlite:///FILE, or say "
            f"{MEMORY} if that is meant"
        )
    return Path(str(found.database)).resolve()


def untested_note(url: str) -> str:
    """A line that says that no test of ours runs on this database; "" where tests do."""
    name = parsed(url).get_backend_name()
    if name in TESTED:
        return ""
    return (
        f"storage {name}: Optuna knows it, peftnas is tested on {' and '.join(TESTED)} only; "
        "try a small study first"
    )


def shown(url: str) -> str:
    """The URL for messages, its password hidden."""
    if url == MEMORY:
        return url
    found = parsed(url)
    query = {name: "***" if name in _SECRETS else value for name, value in found.query.items()}
    return found.set(query=query).render_as_string(hide_password=True).replace("%2A", "*")


def _beginning(text: str) -> str:
    """What may be shown of a text that was meant as a URL: anything later may be a password."""
    scheme, colon, rest = text.partition(":")
    return f"{scheme}:..." if rest else scheme + colon


@functools.cache
def _memory_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with the process; one a process, so that what ran can be read in it."""
    return tempfile.TemporaryDirectory(prefix="peftnas-memory-")
