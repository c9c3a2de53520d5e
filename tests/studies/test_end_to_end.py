"""From a study file to a loaded adapter: every command once, on real Ray workers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftnas.studies.cli import main

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"
TRIALS = 4

# defines a method and a task of its own, which only this file knows
STUDY = """
from peftnas import Integer, Maybe, Recipe, SearchSpace, Study
from peftnas.methods import LoRA
from peftnas.studies.tasks import TextClassification


class LowerCased(TextClassification):
    def score(self, predictions, labels):
        return super().score(predictions, labels) | {"hits": float(len(labels))}


study = Study(
    name="whole",
    backbone="backbone",
    task=LowerCased("task"),
    space=SearchSpace(Loudness(), Maybe(LoRA(rank=Integer(1, 8)))),
    recipe=Recipe(steps=4, batch_size=8, evaluations=1, max_length=16, learning_rate=0.05),
)
"""


@pytest.fixture(scope="module")
def whole(workplace: Path) -> str:
    """The study file, with the method that CONTRIBUTING.md shows."""
    [method] = re.findall(
        r"<!-- example: method -->\n```python\n(.*?)```", GUIDE.read_text(), re.DOTALL
    )
    path = workplace / "whole.py"
    path.write_text(method + STUDY)
    return str(path)


def test_a_study_from_its_file_to_a_loaded_adapter(
    whole: str, workplace: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    named = (whole, "--data", str(workplace / "data"), "--out", str(out))

    def ask(command: str, *arguments: str) -> Any:
        capfd.readouterr()
        assert main([command, *named, "--json", *arguments]) == 0
        return json.loads(capfd.readouterr().out)

    search = ("--trials", str(TRIALS), "--workers", "1")
    first = ask("run", *search)
    assert (first["kept"], first["trained"], first["failed"]) == (0, TRIALS, 0)
    assert "<html" in Path(first["report"]).read_text()[:500].lower()

    front = ask("front")["front"]
    assert [row["trial"] for row in front] == first["front"]
    assert all("loudness" in row["words"] for row in front)
    number = str(front[-1]["trial"])

    texts = ["the good film was great", "bad", "sad day was the poor book"]
    exported = ask("export", "--trial", number, "--to", str(tmp_path / "e"))
    assert exported["note"] == ""
    code = f"{exported['load']}\nimport json\nprint(json.dumps(classify({texts!r}).tolist()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    logits = np.array(json.loads(done.stdout.splitlines()[-1]))
    expected = logits_of(workplace / "backbone", out / "checkpoints" / number, texts)
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=0)

    assert ask("evaluate", "--trial", number)["test_rows"] == 24
    assert [look["trial"] for look in ask("status")["test_looks"]] == [int(number)]

    again = ask("run", *search)
    assert (again["kept"], again["trained"]) == (TRIALS, 0)
    assert again["front"] == first["front"]


def logits_of(backbone: Path, checkpoint: Path, texts: list[str]) -> Any:
    """What the trial's checkpoint answers on the backbone as trials load it."""
    from peftnas.search.backbone import Backbone
    from peftnas.search.task_protocol import Split
    from peftnas.search.trial.artifact import load_artifact
    from peftnas.studies.answer import tokens_of

    found = Backbone(backbone)
    classifier = load_artifact(checkpoint, found.load())
    split = Split(texts, None, np.zeros(len(texts), dtype=np.int64))
    return classifier.predict(tokens_of(split, found, found.tokenizer(), 16))
