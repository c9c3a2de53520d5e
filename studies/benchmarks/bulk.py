"""Many trials written at once, for benchmarks and tests of big studies.

A study of 10,000 trials is there in seconds, instead of minutes by ``study.add_trials``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial

_AT_ONCE = 500  # trials in one transaction


def add_trials(storage: RDBStorage, name: str, trials: Sequence[FrozenTrial]) -> None:
    """Write trials into a study that has none, as ``study.add_trials`` would.

    Args:
        storage: whose other users do not write meanwhile.
        name: of the study.
        trials: with finite values; numbered in this order.
    """
    study_id = storage.get_study_id_from_name(name)
    if storage.get_n_trials(study_id):
        raise ValueError(f"add_trials needs a study without trials, {name!r} has some")
    table = models.TrialModel.__table__
    with storage.engine.connect() as connection:
        first = connection.execute(sqlalchemy.select(sqlalchemy.func.max(table.c.trial_id)))
        above = first.scalar() or 0
    for start in range(0, len(trials), _AT_ONCE):
        numbered = list(enumerate(trials[start : start + _AT_ONCE], start))
        with storage.engine.begin() as connection:
            for model, rows in _rows(numbered, study_id, above + 1).items():
                if rows:
                    connection.execute(sqlalchemy.insert(model.__table__), rows)
    if storage.engine.name == "postgresql":  # which does not see that ids were given
        with storage.engine.begin() as connection:
            connection.exec_driver_sql(
                "SELECT setval('trials_trial_id_seq', (SELECT max(trial_id) FROM trials))"
            )


def _rows(
    numbered: Sequence[tuple[int, FrozenTrial]], study_id: int, first_id: int
) -> dict[Any, list[dict[str, Any]]]:
    """The rows of some trials by Optuna's record of them."""
    rows: dict[Any, list[dict[str, Any]]] = {
        models.TrialModel: [],
        models.TrialValueModel: [],
        models.TrialParamModel: [],
        models.TrialUserAttributeModel: [],
        models.TrialSystemAttributeModel: [],
    }
    for number, trial in numbered:
        own = {"trial_id": first_id + number}
        rows[models.TrialModel].append(
            own
            | {
                "number": number,
                "study_id": study_id,
                "state": trial.state,
                "datetime_start": trial.datetime_start,
                "datetime_complete": trial.datetime_complete,
            }
        )
        for objective, value in enumerate(trial.values or ()):
            finite = models.TrialValueModel.TrialValueType.FINITE
            rows[models.TrialValueModel].append(
                own | {"objective": objective, "value": value, "value_type": finite}
            )
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            rows[models.TrialParamModel].append(
                own
                | {
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(value),
                    "distribution_json": distribution_to_json(distribution),
                }
            )
        for model, kept in (
            (models.TrialUserAttributeModel, trial.user_attrs),
            (models.TrialSystemAttributeModel, trial.system_attrs),
        ):
            rows[model] += [
                own | {"key": key, "value_json": json.dumps(value)} for key, value in kept.items()
            ]
    return rows
