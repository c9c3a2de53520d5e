"""The test score of a finished trial, and the record that somebody looked at it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peftnas.search.task_protocol import AnySplit
    from peftnas.studies.restore import TrainedTrial


def evaluate(trained: TrainedTrial, test: AnySplit) -> dict[str, float]:
    """Every metric of a trained trial on the test split.

    Args:
        trained: the trial with its tensors.
        test: from ``task.test``.
    """
    with trained.answerer() as answerer:
        predictions, labels = answerer.predict(test)
    return trained.bench.task.score(predictions, labels)


def record_look(storage_url: str, name: str, number: int, scores: dict[str, float]) -> None:
    """Note in the study that its test split was looked at, for which trial, and when.

    Args:
        storage_url: of the study.
        name: of the study.
        number: of the trial.
        scores: what was seen.
    """
    from peftnas.search.storage import TEST_LOOKS, open_storage

    storage = open_storage(storage_url)
    study_id = storage.get_study_id_from_name(name)
    looks = storage.get_study_user_attrs(study_id).get(TEST_LOOKS, [])
    when = datetime.now(UTC).isoformat(timespec="seconds")
    look = {"trial": number, "when": when, "scores": scores}
    storage.set_study_user_attr(study_id, TEST_LOOKS, [*looks, look])
