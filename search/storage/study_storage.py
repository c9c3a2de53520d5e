"""Optuna's database storage, reading many trials by plain SQL."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Collection, Container
from typing import Any

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from peftnas.search.storage.reading import read_trials
from peftnas.search.storage.tables import KNOWN_VERSIONS

_MANY = 500  # ids in one statement; databases limit their number


class StudyStorage(RDBStorage):
    """A storage of studies: Optuna's, but 10,000 trials are read in a second.

    Args:
        url: of the database.
        engine_kwargs: for SQLAlchemy's ``create_engine``.
    """

    def __init__(self, url: str, engine_kwargs: dict[str, Any] | None = None) -> None:
        # drivers complain of connections that are left to the garbage collector
        try:
            super().__init__(url, engine_kwargs)
        except Exception:
            if hasattr(self, "engine"):
                self.engine.dispose()
            raise
        weakref.finalize(self, self.engine.dispose)
        version = self.get_current_version()
        self._known_tables = version in KNOWN_VERSIONS
        if not self._known_tables:
            warnings.warn(
                f"this Optuna stores studies as version {version}, which peftnas does not know: "
                "they are read through Optuna itself, which is slow above 1,000 trials; "
                "install the Optuna that constraints.txt names to read them fast",
                stacklevel=2,
            )

    def read_trials(
        self,
        study_id: int,
        *,
        only: Collection[str] | None = None,
        numbers: Collection[int] | None = None,
    ) -> list[FrozenTrial]:
        """Trials of a study by number, past Optuna's cache.

        Args:
            study_id: Optuna's id of the study.
            only: read of user attributes these alone, and no parameters, where it is faster;
                ``None``: everything.
            numbers: of the trials to read; ``None``: all.
        """
        if not self._known_tables:
            trials = self.get_all_trials(study_id, deepcopy=False)
            return [one for one in trials if numbers is None or one.number in numbers]
        with self.engine.connect() as connection:
            return read_trials(connection, study_id, only=only, numbers=numbers)

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """All reading of several trials ends here, that of Optuna's cache too."""
        above, ids = trial_id_greater_than, included_trial_ids
        if not self._known_tables or len(ids) > _MANY:
            return super()._get_trials(study_id, states, ids, above)
        wanted = None if states is None else [state for state in TrialState if state in states]
        self.get_study_name_from_id(study_id)  # KeyError where there is no such study
        with self.engine.connect() as connection:
            return read_trials(connection, study_id, states=wanted, above=above, besides=ids)
