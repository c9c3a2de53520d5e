"""Where a study is kept: an Optuna storage, SQLite by default, one writer at a time.

``open_storage`` reads, ``open_to_write`` and ``only_writer`` are what a driver goes through.
"""

from peftnas.search.errors import StorageError
from peftnas.search.storage.differences import differences
from peftnas.search.storage.failures import (
    LeaseLostError,
    StorageAwayError,
    StorageFullError,
)
from peftnas.search.storage.opening import open_storage, open_to_write
from peftnas.search.storage.patience import Patience, on_stderr
from peftnas.search.storage.patient_storage import PatientStorage, together
from peftnas.search.storage.quiet import quiet_optuna
from peftnas.search.storage.studies import (
    CONTENT,
    FACTS,
    TEST_LOOKS,
    open_study,
    stored_content,
    study_names,
)
from peftnas.search.storage.study_storage import StudyStorage
from peftnas.search.storage.urls import MEMORY, shown, sqlite_url, untested_note
from peftnas.search.storage.writer import only_writer, writer_of

__all__ = [
    "CONTENT",
    "FACTS",
    "MEMORY",
    "TEST_LOOKS",
    "LeaseLostError",
    "Patience",
    "PatientStorage",
    "StorageAwayError",
    "StorageError",
    "StorageFullError",
    "StudyStorage",
    "differences",
    "on_stderr",
    "only_writer",
    "open_storage",
    "open_study",
    "open_to_write",
    "quiet_optuna",
    "shown",
    "sqlite_url",
    "stored_content",
    "study_names",
    "together",
    "untested_note",
    "writer_of",
]
