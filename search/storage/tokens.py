"""The token that a trial carries from its first moment: which call made it.

A call whose answer was lost is repeated; what it made is found by its token and not made again.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy
from optuna.storages._rdb.models import TrialModel
from optuna.trial import FrozenTrial, TrialState

from peftnas.search.storage.tables import SYSTEM_ATTRIBUTES

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TOKEN = "peftnas_token"  # system attribute of a trial


def asked_for() -> FrozenTrial:
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


def made_by(token: str, session: Session) -> Any:
    """Optuna's record of the trial that carries a token; ``None`` where there is none."""
    carries = sqlalchemy.select(SYSTEM_ATTRIBUTES.c.trial_id).where(
        SYSTEM_ATTRIBUTES.c.key == TOKEN, SYSTEM_ATTRIBUTES.c.value_json == json.dumps(token)
    )
    trial_id = session.execute(carries).scalar()
    return None if trial_id is None else session.get(TrialModel, trial_id)
