"""A storage whose calls wait while it is away, and that only the holder of a lease may write."""

from __future__ import annotations

import copy
import functools
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from peftnas.search.storage.failures import ERRORS, UnfinishedError
from peftnas.search.storage.patience import Answer, Patience
from peftnas.search.storage.study_storage import StudyStorage
from peftnas.search.storage.tables import SYSTEM_ATTRIBUTES

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TOKEN = "peftnas_token"  # system attribute of a trial: which call made it


def _repeated(name: str, *, writes: bool = False) -> Any:
    """A method of :class:`StudyStorage` that can be called again as it stands."""
    once = getattr(StudyStorage, name)

    @functools.wraps(once)
    def method(self: PatientStorage, *given: Any, **named: Any) -> Any:
        def act(again: bool) -> Any:
            return once(self, *given, **named)

        return self._write(act) if writes else self.patience.call(act)

    return method


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
        self._tried: set[str] = set()  # tokens of trials that may be there already
        self._here = threading.local()
        sessions = self.scoped_session.session_factory
        sqlalchemy.event.listen(sessions, "before_commit", self._before_commit)

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
        # the trial carries the token of its call from the first: _get_prepared_new_trial finds it
        trial = _asked_for() if template_trial is None else copy.deepcopy(template_trial)
        token = uuid.uuid4().hex
        trial.system_attrs[TOKEN] = token
        try:
            return self._write(
                lambda _: super(PatientStorage, self)._create_new_trial(study_id, trial)
            )
        finally:
            self._tried.discard(token)

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> Any:
        """Optuna's step inside the transaction, which it repeats by itself too."""
        assert template_trial is not None
        token = template_trial.system_attrs[TOKEN]
        if token in self._tried and (made := _made_by(token, session)) is not None:
            return made
        self._tried.add(token)
        try:
            return super()._get_prepared_new_trial(study_id, template_trial, session)
        except ERRORS as error:
            raise UnfinishedError from error  # past Optuna's own five tries, which tell nobody

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
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

    def _before_commit(self, session: Session) -> None:
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
    get_trial = _repeated("get_trial")
    get_trial_param = _repeated("get_trial_param")
    get_trial_user_attrs = _repeated("get_trial_user_attrs")
    get_trial_system_attrs = _repeated("get_trial_system_attrs")
    _get_trials = _repeated("_get_trials")
    _get_best_trial_id = _repeated("_get_best_trial_id")
    # the last value stays, and it is the same one
    set_study_user_attr = _repeated("set_study_user_attr", writes=True)
    set_study_system_attr = _repeated("set_study_system_attr", writes=True)
    set_trial_user_attr = _repeated("set_trial_user_attr", writes=True)
    set_trial_system_attr = _repeated("set_trial_system_attr", writes=True)
    set_trial_intermediate_value = _repeated("set_trial_intermediate_value", writes=True)
    # the first value stays, and it is the same one: Optuna ignores a second row of one parameter
    _set_trial_param = _repeated("_set_trial_param", writes=True)


def _asked_for() -> FrozenTrial:
    """A trial as ``study.ask`` makes it: running, with nothing in it."""
    return FrozenTrial(
        number=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=-1,
    )


def _made_by(token: str, session: Session) -> Any:
    """Optuna's record of the trial that carries a token; ``None`` where there is none."""
    from optuna.storages._rdb.models import TrialModel

    carries = sqlalchemy.select(SYSTEM_ATTRIBUTES.c.trial_id).where(
        SYSTEM_ATTRIBUTES.c.key == TOKEN, SYSTEM_ATTRIBUTES.c.value_json == json.dumps(token)
    )
    trial_id = session.execute(carries).scalar()
    return None if trial_id is None else session.get(TrialModel, trial_id)
