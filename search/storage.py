"""Where a study is kept: one Optuna storage, SQLite by default, one writer at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from peftnas.search.errors import UsageError
from peftnas.search.objectives import Direction

CONTENT = "peftnas_content"  # user attribute of a study: what it explores, to tell two apart
FACTS = "peftnas_facts"  # user attribute of a study: what the report shows besides
TEST_LOOKS = "peftnas_test_looks"  # the same: every look at the test split, oldest first

_ANOTHER = "give the study another name, or another --storage or --out"


def sqlite_url(folder: Path) -> str:
    """The URL of the default storage of a study whose files lie in ``folder``."""
    return f"sqlite:///{(folder / 'study.db').absolute()}"


def open_storage(url: str, *, create: bool = False) -> RDBStorage:
    """Open a storage; a SQLite one in WAL mode, so that reading never waits for the writer.

    Args:
        url: any database URL that Optuna takes, such as ``sqlite:///runs/a/study.db``.
        create: whether a SQLite file that is not there may be made, its folder included.
    Raises:
        UsageError: if it cannot be opened, with the reason.
    """
    file = _sqlite_file(url)
    if file is not None:
        if not file.exists() and not create:
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
    try:
        storage = _connect(url, is_file=file is not None)
    except (
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
        optuna.exceptions.StorageInternalError,
        ImportError,
        OSError,
        RuntimeError,  # a database of another Optuna version
        ValueError,
    ) as error:
        raise UsageError(_cannot(url, error)) from error
    return storage


def open_study(
    storage: RDBStorage,
    name: str,
    *,
    directions: Sequence[Direction],
    content: Mapping[str, Any],
    sampler: BaseSampler | None = None,
) -> optuna.Study:
    """The study ``name``, made if it is new, checked if it is there already.

    Args:
        storage: from :func:`open_storage`.
        name: of the study.
        directions: "maximize" or "minimize", one an objective.
        content: what the study explores; JSON values. Kept with the study.
        sampler: proposes its points; see ``sampling/samplers.py``.
    Raises:
        UsageError: if a study of this name explores something else, listing what differs.
    """
    kept = stored_content(storage, name)
    plain = json.loads(json.dumps(content))
    if kept is not None and (changes := differences(kept, plain)):
        raise UsageError(
            f"study {name!r} is stored with other content: {'; '.join(changes)}; {_ANOTHER}"
        )
    with quiet_optuna():
        if kept is None and name in study_names(storage):
            # it died while it was made, before its first trial
            optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=directions,
            sampler=sampler,
            load_if_exists=True,
        )
    if kept is None:
        study.set_user_attr(CONTENT, plain)
    return study


def stored_content(storage: RDBStorage, name: str) -> dict[str, Any] | None:
    """What the stored study ``name`` explores; ``None`` when there is no such study.

    Raises:
        UsageError: if a study of this name was not made by peftnas.
    """
    if name not in study_names(storage):
        return None
    study_id = storage.get_study_id_from_name(name)
    content = storage.get_study_user_attrs(study_id).get(CONTENT)
    if content is None and storage.get_all_trials(study_id, deepcopy=False):
        raise UsageError(f"study {name!r} in this storage was not made by peftnas; {_ANOTHER}")
    return content


def study_names(storage: RDBStorage) -> list[str]:
    """The names of all studies in the storage, oldest first."""
    return [study.study_name for study in storage.get_all_studies()]


def differences(kept: Any, new: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, as sentences ``path: kept -> new``."""
    if isinstance(kept, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(kept.keys() | new.keys())
            for line in differences(
                kept.get(key, _MISSING), new.get(key, _MISSING), f"{path}.{key}" if path else key
            )
        ]
    if isinstance(kept, list) and isinstance(new, list) and len(kept) == len(new):
        return [
            line
            for i, (a, b) in enumerate(zip(kept, new, strict=True))
            for line in differences(a, b, f"{path}[{i}]")
        ]
    # 1 == 1.0 == True in Python, but not as content of a study
    if type(kept) is type(new) and kept == new:
        return []
    return [f"{path}: stored {_shown(kept)}, now {_shown(new)}"]


@contextmanager
def only_writer(url: str, out: Path, name: str) -> Iterator[None]:
    """Hold the right to write the study ``name`` and the files in ``out``.

    The kernel frees it when the process dies.

    Raises:
        UsageError: if another process holds one of them.
    """
    file = _sqlite_file(url)
    folder = out if file is None else file.parent
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    study = f"study {name!r} is being run by another process; wait for it, or stop it"
    files = f"folder {str(out)!r} is in use by the run of another study; name another --out"
    with (
        _held(folder / f".writer-{digest}.lock", study),
        # checkpoints are named by the trial's number alone: two studies would remove each other's
        _held(out / ".out.lock", files),
    ):
        yield


@contextmanager
def _held(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file; ``UsageError`` with the ``refusal`` when another process does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(refusal) from error
        yield


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's notes on every new study and its marks "experimental"."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _shown(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def _connect(url: str, *, is_file: bool) -> RDBStorage:
    if not is_file:
        return RDBStorage(url)
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    sqlalchemy.event.listen(storage.engine, "connect", _write_ahead)
    storage.engine.dispose()  # connections made before the event would not have it
    return storage


def _write_ahead(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def _sqlite_file(url: str) -> Path | None:
    """The file behind a SQLite URL; ``None`` for other databases."""
    try:
        parsed = make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise UsageError(
            f"storage must be a database URL such as sqlite:///runs/study.db, got {url!r}"
        ) from error
    if parsed.get_backend_name() != "sqlite":
        return None
    if parsed.database in (None, "", ":memory:"):
        raise UsageError(
            f"storage {url!r} would be forgotten at the end; name a file: sqlite:///FILE"
        )
    return Path(str(parsed.database)).resolve()


def _cannot(url: str, error: Exception) -> str:
    reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
    shown = make_url(url).render_as_string(hide_password=True)
    if isinstance(error, ImportError | sqlalchemy.exc.NoSuchModuleError):
        remedy = "install the driver that its URL names, or use SQLite: sqlite:///FILE"
    elif _sqlite_file(url) is None:
        remedy = "check the address, the name and the password"
    else:
        remedy = "check the path and its permissions, and that it is a database of Optuna's"
    return f"storage {shown!r} cannot be opened: {reason}; {remedy}"
