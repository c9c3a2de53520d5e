"""Open a storage: SQLite in a file or a server's database."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy
from sqlalchemy.engine import make_url

from peftnas.search.errors import StorageError, UsageError
from peftnas.search.storage.failures import ERRORS, failure_of, is_there_already, reason_of
from peftnas.search.storage.patience import Patience
from peftnas.search.storage.patient_storage import PatientStorage
from peftnas.search.storage.study_storage import StudyStorage
from peftnas.search.storage.urls import MEMORY, parsed, shown, sqlite_file, untested_note

_READER_WAITS_S = 60.0  # for a lock of SQLite, without a word
_SERVER = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10}
_LIBPQ = ("psycopg", "psycopg2")  # drivers that take these
_TABLES = 12  # of Optuna: so often another process may be first to make one

Storage = TypeVar("Storage", bound=StudyStorage)


def open_storage(url: str, *, create: bool = False) -> StudyStorage:
    """Open a storage to read it; a SQLite one in WAL mode, so that reading never waits.

    Args:
        url: any database URL that Optuna takes, such as ``sqlite:///runs/a/study.db`` or
            ``postgresql+psycopg://me@host/studies``; ``memory`` for one of this process alone.
        create: whether a SQLite file that is not there may be made, its folder included.
    Raises:
        UsageError: if it cannot be opened, with the reason.
    """
    _prepare(url, create=create)
    options = _engine_options(url, _READER_WAITS_S)
    try:
        return _beside_others(lambda: StudyStorage(_optuna_url(url), options))
    except _OPENING as error:
        raise UsageError(_cannot(url, error)) from error


def open_to_write(url: str, patience: Patience | None = None) -> PatientStorage:
    """Open a storage for a driver, made if it is new: it waits while the storage is away.

    Args:
        url: as for :func:`open_storage`.
        patience: how long to wait, and who is told; ten minutes in silence by default.
    Raises:
        UsageError: if it cannot be opened, with the reason. A lock is waited for; a server that
            is not there when the study starts is not.
    Warns:
        UserWarning: of a database that this package is not tested on.
    """
    patience = patience or Patience()
    _prepare(url, create=True)

    def connect(again: bool) -> PatientStorage:
        options = _engine_options(url, patience.unshown_s)
        return PatientStorage(_optuna_url(url), options, patience=patience)

    try:
        storage = _beside_others(lambda: patience.call(connect, kinds=("busy",)))
    except _OPENING as error:
        raise UsageError(_cannot(url, error)) from error
    if note := untested_note(url):
        warnings.warn(note, stacklevel=2)
    return storage


_OPENING: tuple[type[Exception], ...] = (
    *ERRORS,
    ImportError,
    OSError,
    RuntimeError,  # a database of another Optuna version, one that stays away or is full
    ValueError,
)


def _beside_others(connect: Callable[[], Storage]) -> Storage:
    """What ``connect`` gives, called again where another process made the tables meanwhile."""
    for _ in range(_TABLES):
        try:
            return connect()
        except ERRORS as error:
            if not is_there_already(error):
                raise
    return connect()


def _prepare(url: str, *, create: bool) -> None:
    """Refuse what no database is needed to refuse, and make the folder of a new file."""
    file = sqlite_file(url)
    if file is not None:
        if not file.exists() and not create:
            if url == MEMORY:
                raise UsageError(
                    "storage memory is forgotten with the process that ran the study; name "
                    "another --storage to keep it"
                )
            raise UsageError(
                f"no study is stored at {file}; run the study first, or name its --storage"
            )
        if create:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(_cannot(url, error)) from error
        if file.is_dir():
            raise UsageError(f"storage {url!r} cannot be opened: it is a folder; name a file")


def _optuna_url(url: str) -> str:
    return parsed(url).render_as_string(hide_password=False) if url == MEMORY else url


def _engine_options(url: str, waits_s: float) -> dict[str, Any]:
    """Options of ``create_engine`` for this database."""
    if sqlite_file(url) is not None:
        # each connection of the pool is made by it
        return {"connect_args": {"timeout": waits_s, "factory": _WriteAhead}}
    found = parsed(url)
    if found.get_backend_name() == "postgresql" and found.get_driver_name() in _LIBPQ:
        return {"connect_args": dict(_SERVER)}
    return {}


class _WriteAhead(sqlite3.Connection):
    """A connection in WAL mode: readers and the writer do not wait for each other."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


def _cannot(url: str, error: Exception) -> str:
    if isinstance(error, ImportError | sqlalchemy.exc.NoSuchModuleError):
        remedy = "install the driver that its URL names, or use SQLite: sqlite:///FILE"
        if make_url(url).get_backend_name() == "postgresql":
            remedy = "pip install 'peftnas[postgres]' and name it postgresql+psycopg://..."
    elif sqlite_file(url) is None:
        remedy = "check the address, the name and the password"
    elif isinstance(error, (StorageError, *ERRORS)) and failure_of(error) == "busy":
        remedy = "see which process holds it"
    else:
        remedy = "check the path and its permissions, and that it is a database of Optuna's"
    return f"storage {shown(url)!r} cannot be opened: {reason_of(error)}; {remedy}"
