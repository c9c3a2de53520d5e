"""The task that CONTRIBUTING.md shows: four methods, and a study on it runs to its end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sklearn.metrics import accuracy_score

from peftnas.studies.study_file import load_study
from tests.studies.conftest import make_backbone
from tests.studies.tasks.conftest import Ran

GUIDE = Path(__file__).parents[3] / "CONTRIBUTING.md"
STUDY = """
from peftnas import Integer, Recipe, SearchSpace, Study
from peftnas.methods import LoRA

study = Study(
    name="own", backbone="backbone", task=Vowels(), space=SearchSpace(LoRA(rank=Integer(1, 8)))
)
"""


def example_of(name: str) -> str:
    """A marked block of the guide."""
    block = rf"<!-- example: {name} -->\n```python\n(.*?)```"
    [found] = re.findall(block, GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return str(found)


def test_a_study_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_backbone(tmp_path / "backbone")
    study = STUDY.replace("SearchSpace(", "recipe=Recipe(steps=2), space=SearchSpace(", 1)
    (tmp_path / "own.py").write_text(example_of("task") + study.replace("space=recipe", "recipe"))
    monkeypatch.chdir(tmp_path)
    exec(compile(example_of("debug"), str(GUIDE), "exec"), {})
    assert re.match(r"lora rank \d.*letters_right", capsys.readouterr().out)


def test_a_task_of_ones_own(two_trials: object, tmp_path: Path) -> None:
    example = example_of("task")
    (tmp_path / "own.py").write_text(example + STUDY)
    task = load_study(str(tmp_path / "own.py")).study.task
    methods = [name for name, value in vars(type(task)).items() if callable(value)]
    assert methods == ["to_dict", "open", "test", "score"]
    ran = two_trials("bert", task, steps=100, head_learning_rate=0.05)  # type: ignore[operator]
    assert isinstance(ran, Ran)
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        assert metrics == task.score(predictions, labels)
        assert metrics["letters_right"] == accuracy_score(sum(labels, []), sum(predictions, []))
    assert max(metrics["letters_right"] for metrics in ran.metrics) > 0.8
