"""What a study is made of, what is refused, and what tells two studies apart."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from peftnas.methods import LoRA
from peftnas.search import Backbone, Recipe, Study, UsageError
from peftnas.search.storage import differences
from peftnas.spaces import Choice, Integer, Real, SearchSpace

SPACE = SearchSpace(LoRA(rank=Integer(1, 4)))


@pytest.fixture
def study(bert: Backbone, good_or_bad: Any) -> Study:
    return Study("a", bert, good_or_bad(), SPACE)


def test_defaults(study: Study) -> None:
    assert study.objectives == ("accuracy", "trainable_parameters")
    assert study.recipe == Recipe()
    assert (study.constraints, study.seed) == ((), 0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a/b"}, "name must be letters"),
        ({"name": ""}, "name must be letters"),
        ({"space": LoRA()}, "space must be a SearchSpace"),
        ({"recipe": {"steps": 3}}, "recipe must be a Recipe"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"objectives": ("accuracy", "accuracy")}, "objectives must be distinct"),
        (
            {"objectives": ("accurcy",)},
            r"one of accuracy, .*did you mean 'accuracy'",
        ),
        ({"objectives": "accurcy"}, "got 'accurcy'; did you mean 'accuracy'"),
        ({"objectives": ("accuracy", "params")}, "trainable_parameters, .* got 'params'"),
        ({"objectives": (3,)}, "objective must be one of .* got 3"),
        ({"constraints": ("accurcy >= 0.9",)}, "a constraint must read"),
        (
            {"constraints": ("accuracy >= 0.9",)},
            "a constraint bounds a cost, but accuracy is a metric",
        ),
    ],
)
def test_wrong_studies_fail_where_they_are_written(
    study: Study, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        dataclasses.replace(study, **change)


def test_content_is_json_and_stable(study: Study) -> None:
    content = json.loads(json.dumps(study.to_dict()))
    assert differences(content, json.loads(json.dumps(study.to_dict()))) == []
    assert content["objectives"] == [
        {"name": "accuracy", "direction": "maximize"},
        {"name": "trainable_parameters", "direction": "minimize"},
    ]


def test_equal_weights_elsewhere_are_the_same_study(
    study: Study, bert: Backbone, tmp_path: Path
) -> None:
    shutil.copytree(bert.folder, tmp_path / "copy")
    moved = dataclasses.replace(study, backbone=str(tmp_path / "copy"))
    assert moved.to_dict() == study.to_dict()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"seed": 1}, "seed"),
        ({"space": SearchSpace(LoRA(rank=Integer(1, 5)))}, "space"),
        ({"space": SearchSpace(LoRA(rank=Integer(1, 4)), max_parameters="2%")}, "space"),
        ({"recipe": Recipe(learning_rate=Real(1e-4, 1e-2))}, "recipe.learning_rate"),
        ({"recipe": Recipe(schedule=Choice("linear", "cosine"))}, "recipe.schedule"),
        ({"objectives": ("trainable_parameters", "accuracy")}, "objectives"),
        ({"constraints": ("stored_bytes <= 1MB",)}, "constraints"),
    ],
)
def test_what_differs_is_named(study: Study, change: dict[str, Any], path: str) -> None:
    changed = dataclasses.replace(study, **change)
    lines = differences(study.to_dict(), changed.to_dict())
    assert lines and all(line.startswith(path) for line in lines)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("objectives", 5, "objectives must be names, got 5; write such as"),
        ("constraints", 5, "constraints must be texts, got 5; write such as"),
        ("constraints", [5], r"constraints must be texts, got \[5\]; write such as"),
        ("constraints", {"train_step_s": 1}, "constraints must be texts, got {.*; write such as"),
        (
            "constraints",
            ("train_step_s <= 1ms", "train_step_s >= 1s"),
            "constraints must leave room, got 'train_step_s <= 1ms' and 'train_step_s >= 1s'; ",
        ),
    ],
)
def test_objectives_and_constraints_of_another_kind(
    study: Study, field: str, value: Any, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        dataclasses.replace(study, **{field: value})
