"""Parameters and attributes of trials that are collected and written in one transaction.

A transaction takes a millisecond or two whatever is in it, and in Optuna's way a trial of ten
parameters and eight attributes has twenty of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql import TableClause

from peftnas.search.storage.tables import PARAMS, SYSTEM_ATTRIBUTES, TRIALS, USER_ATTRIBUTES

_INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass
class Writes:
    """What is to be written of trials that are running.

    Attributes:
        params: ``(trial_id, name)`` -> internal value and distribution.
        user_attributes: ``(trial_id, key)`` -> JSON.
        system_attributes: ``(trial_id, key)`` -> JSON.
    """

    params: dict[tuple[int, str], tuple[float, BaseDistribution]] = field(default_factory=dict)
    user_attributes: dict[tuple[int, str], str] = field(default_factory=dict)
    system_attributes: dict[tuple[int, str], str] = field(default_factory=dict)

    @staticmethod
    def understood_by(dialect: str) -> bool:
        """Whether rows can be written there that may be there already."""
        return dialect in _INSERTS

    def of_trial(self, trial_id: int) -> bool:
        return any(key[0] == trial_id for part in self._parts() for key in part)

    def system_attributes_of(self, trial_id: int) -> dict[str, Any]:
        """What was set and is not written yet."""
        return {
            key: json.loads(text)
            for (owner, key), text in self.system_attributes.items()
            if owner == trial_id
        }

    def write(self, connection: Connection) -> None:
        """Write everything; doing it twice is doing it once.

        Raises:
            UpdateFinishedTrialError: if one of the trials has ended.
        """
        ids = {key[0] for part in self._parts() for key in part}
        running = sqlalchemy.select(TRIALS.c.trial_id, TRIALS.c.state).where(
            TRIALS.c.trial_id.in_(ids)
        )
        for row in connection.execute(running.with_for_update()):
            if TrialState[row.state].is_finished():
                raise UpdateFinishedTrialError(f"trial {row.trial_id} has ended")
        params = [
            {
                "trial_id": trial_id,
                "param_name": name,
                "param_value": value,
                "distribution_json": distribution_to_json(distribution),
            }
            for (trial_id, name), (value, distribution) in self.params.items()
        ]
        _put(connection, PARAMS, params, "param_name", ("param_value", "distribution_json"))
        for table, kept in (
            (USER_ATTRIBUTES, self.user_attributes),
            (SYSTEM_ATTRIBUTES, self.system_attributes),
        ):
            rows = [
                {"trial_id": trial_id, "key": key, "value_json": text}
                for (trial_id, key), text in kept.items()
            ]
            _put(connection, table, rows, "key", ("value_json",))

    def clear(self) -> None:
        for part in self._parts():
            part.clear()

    def __bool__(self) -> bool:
        return any(self._parts())

    def _parts(self) -> tuple[dict[tuple[int, str], Any], ...]:
        return self.params, self.user_attributes, self.system_attributes


def _put(
    connection: Connection,
    table: TableClause,
    rows: list[dict[str, Any]],
    name: str,
    values: tuple[str, ...],
) -> None:
    """Insert rows, or renew those of the same trial and name."""
    if not rows:
        return
    insert: Any = _INSERTS[connection.dialect.name](table).values(rows)
    renewed = {value: insert.excluded[value] for value in values}
    connection.execute(
        insert.on_conflict_do_update(index_elements=["trial_id", name], set_=renewed)
    )
