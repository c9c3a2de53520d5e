"""The studies in a storage: made, opened again, told apart by what they explore."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from peftnas.search.errors import UsageError
from peftnas.search.objectives import Direction
from peftnas.search.storage.differences import differences
from peftnas.search.storage.patient_storage import PatientStorage
from peftnas.search.storage.quiet import quiet_optuna
from peftnas.search.storage.schema import NUMBER, SCHEMA, check_schema, upgrade
from peftnas.search.storage.study_storage import StudyStorage
from peftnas.search.storage.writer import writer_of

CONTENT = "peftnas_content"  # user attribute of a study: what it explores, to tell two apart
FACTS = "peftnas_facts"  # user attribute of a study: what the report shows besides
TEST_LOOKS = "peftnas_test_looks"  # the same: every look at the test split, oldest first

_ANOTHER = "give the study another name, or another --storage or --out"


def open_study(
    storage: BaseStorage,
    name: str,
    *,
    directions: Sequence[Direction],
    content: Mapping[str, Any],
    sampler: BaseSampler | None = None,
) -> optuna.Study:
    """The study ``name``, made if it is new, checked if it is there already.

    Args:
        storage: from ``open_storage`` or ``open_to_write``.
        name: of the study.
        directions: "maximize" or "minimize", one an objective.
        content: what the study explores; JSON values. Kept with the study. The names of its
            ``objectives`` are what Optuna's plots and dashboard show.
        sampler: proposes its points; see ``samplers.py``.
    Raises:
        UsageError: if a study of this name explores something else, listing what differs, or was
            stored by a version of another schema, or is just being made by another process.
    """
    kept = stored_content(storage, name)
    plain = json.loads(json.dumps(content))
    if kept is not None and (changes := differences(kept, plain)):
        raise UsageError(
            f"study {name!r} is stored with other content: {'; '.join(changes)}; {_ANOTHER}"
        )
    with quiet_optuna():
        if kept is None and name in study_names(storage):
            _refuse_while_made(storage, name)
            # it died while it was made, before its first trial
            optuna.delete_study(study_name=name, storage=storage)
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=directions,
            sampler=sampler,
            load_if_exists=True,
        )
        names = [objective["name"] for objective in plain.get("objectives", ())]
        if len(names) == len(directions) and study.metric_names != names:
            study.set_metric_names(names)
    if kept is None:
        study.set_user_attr(SCHEMA, NUMBER)
        study.set_user_attr(CONTENT, plain)  # last: a study with it was made whole
    else:
        upgrade(storage, study._study_id, study.user_attrs.get(SCHEMA, 0))
    return study


def _refuse_while_made(storage: BaseStorage, name: str) -> None:
    """Leave a study without content alone while the run that makes it is there."""
    ours = isinstance(storage, PatientStorage) and storage.confirm is not None
    if ours or not isinstance(storage, StudyStorage):
        return
    seen = writer_of(storage, name)
    if seen is not None:
        raise UsageError(
            f"study {name!r} is being made by {seen.holder.words()}; try again in a moment"
        )


def stored_content(storage: BaseStorage, name: str) -> dict[str, Any] | None:
    """What the stored study ``name`` explores; ``None`` when there is no such study.

    Raises:
        UsageError: if a study of this name was not made by peftnas, or by a version of it whose
            schema this one cannot read.
    """
    if name not in study_names(storage):
        return None
    study_id = storage.get_study_id_from_name(name)
    attributes = storage.get_study_user_attrs(study_id)
    check_schema(name, attributes.get(SCHEMA, 0))
    content = attributes.get(CONTENT)
    if content is None and storage.get_n_trials(study_id):
        raise UsageError(f"study {name!r} in this storage was not made by peftnas; {_ANOTHER}")
    return content


def study_names(storage: BaseStorage) -> list[str]:
    """The names of all studies in the storage, oldest first."""
    return [study.study_name for study in storage.get_all_studies()]
