"""A task of one's own is tried on right answers before a worker starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftnas import Integer, Recipe, SearchSpace, Study
from peftnas.methods import LoRA
from peftnas.search.backbone import Backbone
from peftnas.search.errors import UsageError
from peftnas.search.preflight import prepare
from peftnas.studies.tasks import TextClassification


class Own(TextClassification):
    """Scores as it is told to."""

    scored: Callable[[Any], Any]
    metrics: tuple[str, ...] = ("accuracy",)

    def __init__(self, scored: Callable[[Any], Any], path: Path) -> None:
        super().__init__(str(path), metrics="accuracy")
        self.scored = scored

    def score(self, predictions: Any, labels: Any) -> Any:
        return self.scored(labels)


def study_of(
    bert: Backbone, tmp_path: Path, scored: Callable[[Any], Any], kind: Any = Own
) -> Study:
    rows = "".join(f"good{i % 3} bad{i % 2} {i}\t{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "t.tsv").write_text("text\tlabel\n" + rows)
    space = SearchSpace(LoRA(rank=Integer(1, 4)))
    return Study("own", bert, kind(scored, tmp_path / "t.tsv"), space, Recipe(steps=2))


def fails(labels: Any) -> Any:
    raise KeyError("topic")


@pytest.mark.parametrize(
    ("scored", "says"),
    [
        (lambda labels: 0.5, "a dict from metric to number, got 0.5; "),
        (lambda labels: {"acc": 1.0}, r"every metric of the task \(accuracy\), got acc; "),
        (lambda labels: {"accuracy": "high"}, "finite numbers, got 'high' for 'accuracy'; "),
        (lambda labels: {"accuracy": float("nan")}, "finite numbers, got nan for 'accuracy'; "),
        (fails, "must score right answers, got KeyError: 'topic'; correct its method score"),
    ],
)
def test_what_score_gives_is_checked(
    bert: Backbone, tmp_path: Path, scored: Callable[[Any], Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        prepare(study_of(bert, tmp_path, scored), base=tmp_path)


def test_a_score_that_fits_passes_and_sees_all_of_validation(
    bert: Backbone, tmp_path: Path
) -> None:
    seen: list[int] = []

    def scored(labels: Any) -> dict[str, float]:
        seen.append(len(labels))
        return {"accuracy": 1.0, "more": 2.0}

    prepared = prepare(study_of(bert, tmp_path, scored), base=tmp_path)
    assert seen == [len(prepared.data.validation)]


class Backwards(Own):
    directions = {"accuracy": "minimise"}  # type: ignore[assignment]


class Listed(Own):
    directions = ("minimize",)  # type: ignore[assignment]


class Misnamed(Own):
    directions = {"acuracy": "minimize"}  # type: ignore[assignment,dict-item]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Backwards, "'maximize' or 'minimize', got 'minimise' for 'accuracy'; did you mean"),
        (Listed, r"must be a dict .*, got \('minimize',\); write"),
        (Misnamed, "must name metrics of the task, got 'acuracy'; did you mean 'accuracy'"),
    ],
)
def test_directions_are_checked(bert: Backbone, tmp_path: Path, kind: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        study_of(bert, tmp_path, lambda labels: {"accuracy": 1.0}, kind)


def test_a_form_that_is_none(bert: Backbone, tmp_path: Path) -> None:
    class Formless(Own):
        form = "tagging"  # type: ignore[assignment]

    with pytest.raises(UsageError, match="must be a Form.*, got 'tagging'; "):
        prepare(study_of(bert, tmp_path, lambda labels: {}, Formless), base=tmp_path)
