"""The columns of Optuna's tables that are read and written here without Optuna's ORM."""

from __future__ import annotations

from sqlalchemy import DateTime, Double, Integer, String, Text, column, table

KNOWN_VERSIONS = ("v3.2.0.a",)
"""Versions of Optuna's tables that these columns are right for; others go the way of its ORM."""

TRIALS = table(
    "trials",
    column("trial_id", Integer),
    column("number", Integer),
    column("study_id", Integer),
    column("state", String),  # an enumeration there; its names come back as text
    column("datetime_start", DateTime),
    column("datetime_complete", DateTime),
)
VALUES = table(
    "trial_values",
    column("trial_id", Integer),
    column("objective", Integer),
    column("value", Double),
    column("value_type", String),
)
PARAMS = table(
    "trial_params",
    column("param_id", Integer),
    column("trial_id", Integer),
    column("param_name", String),
    column("param_value", Double),
    column("distribution_json", Text),
)
USER_ATTRIBUTES = table(
    "trial_user_attributes",
    column("trial_id", Integer),
    column("key", String),
    column("value_json", Text),
)
SYSTEM_ATTRIBUTES = table(
    "trial_system_attributes",
    column("trial_id", Integer),
    column("key", String),
    column("value_json", Text),
)
INTERMEDIATE_VALUES = table(
    "trial_intermediate_values",
    column("trial_id", Integer),
    column("step", Integer),
    column("intermediate_value", Double),
    column("intermediate_value_type", String),
)
