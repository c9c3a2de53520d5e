"""A storage whose calls wait while it is away, and that only the holder of a lease may write."""

from __future__ import annotations

import copy
import functools
import json
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.storages._rdb.models import StudyModel
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from peftnas.search.storage.later import Writes
from peftnas.search.storage.patience import Answer, Patience
from peftnas.search.storage.study_storage import StudyStorage
from peftnas.search.storage.tokens import TOKEN, asked_for, made_by

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def _repeated(name: str, *, writes: bool = False) -> Any:
    """A method of :class:`StudyStorage` that can be called again as it stands."""
    once = getattr(StudyStorage, name)

    @functools.wraps(once)
    def method(self: PatientStorage, *given: Any, **named: Any) -> Any:
        def act(again: bool) -> Any:
            return once(self, *given, **named)

        return self._write(act) if writes else self.patience.call(act)

    return method


_get_trial = _repeated("get_trial")
_get_system_attributes = _repeated("get_trial_system_attrs")
_set_user_attribute = _repeated("set_trial_user_attr", writes=True)
_set_system_attribute = _repeated("set_trial_system_attr", writes=True)
# the first value stays, and it is the same one: Optuna ignores a second row of one parameter
_set_parameter = _repeated("_set_trial_param", writes=True)


class PatientStorage(StudyStorage):
    """Optuna's calls, each repeated until the storage has done it once.

    A call whose answer was lost may have been carried out, so each one says why repeating it does
    no harm. It is sound for a single writer of a study (``writer.only_writer``).

    Args:
        url: of the database.
        engine_kwargs: for SQLAlchemy's ``create_engine``.
        patience: how long to wait, and who is told.

    Attributes:
        confirm: asked in the transaction of each write, before it is committed; raises where the
            study is not ours any more. Set by ``only_writer``.
    """

    def __init__(
        self, url: str, engine_kwargs: dict[str, Any] | None = None, *, patience: Patience
    ) -> None:
        super().__init__(url, engine_kwargs)
        self.patience = patience
        self.confirm: Callable[[sqlalchemy.Connection], None] | None = None
        self._here = threading.local()
        mine = weakref.ref(self)  # SQLAlchemy keeps what listens for ever

        def before_commit(session: Session) -> None:
            if (storage := mine()) is not None:
                storage._confirm_write(session)

        sessions = self.scoped_session.session_factory
        sqlalchemy.event.listen(sessions, "before_commit", before_commit)

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        # the name is chosen once; a study that is there the second time is the one of the first
        name = study_name or f"no-name-{uuid.uuid4()}"

        def act(again: bool) -> int:
            try:
                return super(PatientStorage, self).create_new_study(directions, name)
            except DuplicatedStudyError:
                if again:
                    return int(self.get_study_id_from_name(name))
                raise

        return self._write(act)

    def delete_study(self, study_id: int) -> None:
        def act(again: bool) -> None:
            try:
                super(PatientStorage, self).delete_study(study_id)
            except KeyError:  # gone: the first call did it
                if not again:
                    raise

        self._write(act)

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        # the trial carries the token of this call from the first, by which it is found again;
        # Optuna's own way tries five times without a word, and knows no token
        trial = asked_for() if template_trial is None else copy.deepcopy(template_trial)
        token = trial.system_attrs[TOKEN] = uuid.uuid4().hex

        def act(again: bool) -> FrozenTrial:
            with _create_scoped_session(self.scoped_session) as session:
                # locked, so that two trials do not get one number
                StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
                made = made_by(token, session) if again else None
                if made is None:
                    made = self._get_prepared_new_trial(study_id, trial, session)
                record: Any = made
                trial.number, trial._trial_id = record.number, record.trial_id
                trial.datetime_start = record.datetime_start
            return trial

        return self._write(act)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write the parameters and attributes that are set meanwhile in one transaction.

        It is made at the end, or before a trial ends or is read by itself. Until then only this
        thread knows of them; where the block raises, nothing of them is written.
        """
        if self._later is not None or not Writes.understood_by(self.engine.name):
            yield
            return
        self._here.later = Writes()
        try:
            yield
            self._write_later()
        finally:
            self._here.later = None

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        if self._later is None:
            _set_user_attribute(self, trial_id, key, value)
        else:
            self._later.user_attributes[trial_id, key] = json.dumps(value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if self._later is None:
            _set_system_attribute(self, trial_id, key, value)
        else:
            self._later.system_attributes[trial_id, key] = json.dumps(value)

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        # an unknown parameter is compared with what is stored, in Optuna's way
        if self._later is None or previous_distribution is None:
            _set_parameter(
                self,
                trial_id,
                param_name,
                param_value_internal,
                distribution,
                previous_distribution,
            )
        else:
            check_distribution_compatibility(previous_distribution, distribution)
            self._later.params[trial_id, param_name] = (param_value_internal, distribution)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        kept: dict[str, Any] = _get_system_attributes(self, trial_id)
        return kept if self._later is None else kept | self._later.system_attributes_of(trial_id)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if self._later is not None and self._later.of_trial(trial_id):
            self._write_later()
        trial: FrozenTrial = _get_trial(self, trial_id)
        return trial

    @property
    def _later(self) -> Writes | None:
        return getattr(self._here, "later", None)

    def _write_later(self) -> None:
        """Write what was collected; repeating it renews the same rows."""
        later = self._later
        if not later:
            return

        def act(again: bool) -> None:
            with self.engine.begin() as connection:
                later.write(connection)
                if self.confirm is not None:
                    self.confirm(connection)

        self._write(act)
        later.clear()

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        self._write_later()

        # a trial that has ended as it should has been told; one that waited and runs was taken
        # by us, as nobody else takes trials of this study
        def act(again: bool) -> bool:
            try:
                done = super(PatientStorage, self).set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                if again and self._ended_as(trial_id, state, values):
                    return True
                raise
            return done or (again and state == TrialState.RUNNING)

        return self._write(act)

    def _ended_as(self, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
        kept = self.get_trial(trial_id)
        wanted = None if values is None else list(values)
        return bool(kept.state == state and kept.values == wanted)

    def _write(self, act: Callable[[bool], Answer]) -> Answer:
        with self._writing():
            return self.patience.call(act)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        before = getattr(self._here, "writes", False)
        self._here.writes = True
        try:
            yield
        finally:
            self._here.writes = before

    def _confirm_write(self, session: Session) -> None:
        if self.confirm is not None and getattr(self._here, "writes", False):
            self.confirm(session.connection())

    # reading changes nothing
    get_all_studies = _repeated("get_all_studies")
    get_study_id_from_name = _repeated("get_study_id_from_name")
    get_study_name_from_id = _repeated("get_study_name_from_id")
    get_study_directions = _repeated("get_study_directions")
    get_study_user_attrs = _repeated("get_study_user_attrs")
    get_study_system_attrs = _repeated("get_study_system_attrs")
    get_trial_id_from_study_id_trial_number = _repeated("get_trial_id_from_study_id_trial_number")
    get_trial_param = _repeated("get_trial_param")
    get_trial_user_attrs = _repeated("get_trial_user_attrs")
    _get_trials = _repeated("_get_trials")
    _get_best_trial_id = _repeated("_get_best_trial_id")
    # the last value stays, and it is the same one
    set_study_user_attr = _repeated("set_study_user_attr", writes=True)
    set_study_system_attr = _repeated("set_study_system_attr", writes=True)
    set_trial_intermediate_value = _repeated("set_trial_intermediate_value", writes=True)


def together(study: optuna.Study) -> AbstractContextManager[None]:
    """:meth:`PatientStorage.together` of a study's storage; nothing for another storage."""
    storage = study._storage
    backend = getattr(storage, "_backend", storage)  # below Optuna's cache
    return backend.together() if isinstance(backend, PatientStorage) else nullcontext()
