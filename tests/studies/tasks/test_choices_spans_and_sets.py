"""Multiple choice, answers in texts, sets of classes: two trials each, scored as packages do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from peftnas.methods import Prompt
from peftnas.search.trial.forms.choices import ABSENT
from peftnas.studies.export import export, load_exported
from peftnas.studies.export_check import check_form
from peftnas.studies.tasks import (
    DataError,
    MultiLabelClassification,
    MultipleChoice,
    QuestionAnswering,
    superglue,
)
from peftnas.studies.tasks.superglue import SUPERGLUE
from tests.studies.tasks.conftest import Ran, some_letters, write_rows

TwoTrials = Callable[..., Ran]


def chosen(random: np.random.Generator) -> dict[str, Any]:
    """The answer that shares the letter; two or three answers."""
    count = random.integers(2, 4)
    letters = [str(one) for one in random.permutation(list("abcdefghijkl"))[:count]]
    label = int(random.integers(len(letters)))
    return {"text": f"{letters[label]} ?", "choices": letters, "label": label}


@pytest.mark.parametrize("pooling", ["mean", "native"])
def test_multiple_choice(two_trials: TwoTrials, tmp_path: Path, pooling: str) -> None:
    write_rows(tmp_path / "t", chosen)
    ran = two_trials("bert", MultipleChoice("t"), Prompt(length=2), pooling=pooling)
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        assert metrics["accuracy"] == accuracy_score(labels, predictions.argmax(1))
        counts = [len(some) for some in ran.bench.data.validation.choices]
        assert [int((row > ABSENT).sum()) for row in predictions] == counts
    with ran.trained() as trained:
        export(trained, "two", tmp_path / "e")
        with trained.answerer() as answerer:
            alone = [answerer(["a ?"], [[answer, "a"]])[0, 0] for answer in "bcd"]
            together = answerer(["a ?"], [["b", "c", "d"]])[0]
        np.testing.assert_allclose(together, alone, atol=1e-5)
        with pytest.raises(ValueError, match="written in peftnas's own format alone"):
            check_form(trained.row, ran.bench, "merged")
    found = load_exported(tmp_path / "e")(["a ?"], [["b", "c", "d"]])[0]
    np.testing.assert_allclose(found, together, atol=1e-5)


def test_choices_in_columns_and_letters(tmp_path: Path) -> None:
    rows = {"text": "a", "one": "b", "two": "c", "label": "B"}
    write_rows(tmp_path / "t", lambda random: rows | {"text": str(random.integers(99))})
    data = MultipleChoice("t", choices=("one", "two")).open(tmp_path, tmp_path, 0)
    assert data.train.choices[0] == ["b", "c"] and data.train.labels[0] == 1
    write_rows(tmp_path / "u", lambda random: rows | {"label": 2})
    with pytest.raises(DataError, match="got 2 answers and 2 in row 1"):
        MultipleChoice("u", choices=("one", "two")).open(tmp_path, tmp_path, 0)


def asked(random: np.random.Generator) -> dict[str, Any]:
    """The capital letters of a text."""
    before, inside, behind = (some_letters(random, 1, 3) for _ in range(3))
    answer = " ".join(inside).upper()
    context = f"{' '.join(before)} {answer} {' '.join(behind)}"
    answers = {"text": [answer], "answer_start": [context.index(answer)]}
    return {"question": "? is", "context": context, "answers": answers}


def test_question_answering(two_trials: TwoTrials, tmp_path: Path) -> None:
    write_rows(tmp_path / "t", asked)
    ran = two_trials("bert", QuestionAnswering("t"), Prompt(length=2), steps=60)
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        rights = [right[0] for right in labels]
        # letters without articles: SQuAD's normalisation only lowers the case
        same = [_words(a) == _words(b) for a, b in zip(predictions, rights, strict=True)]
        assert metrics["answer_match"] == np.mean(same)
        contexts = ran.bench.data.validation.contexts
        assert all(text in context for text, context in zip(predictions, contexts, strict=True))
    assert max(metrics["answer_f1"] for metrics in ran.metrics) > 0.5
    rows = ran.bench.examples(48).validation
    spans = [
        rows.contexts[row][
            rows.begins[slice(*rows.tokens.starts[row : row + 2])][a] : rows.ends[
                slice(*rows.tokens.starts[row : row + 2])
            ][b]
        ]
        for row, (a, b) in enumerate(rows.spans)
    ]
    assert spans == [right[0] for right in rows.labels]
    with ran.trained() as trained:
        export(trained, "two", tmp_path / "e")
        with trained.answerer() as answerer:
            expected = answerer(["? is"], ["a B C d"])
    assert load_exported(tmp_path / "e")(["? is"], ["a B C d"]) == expected


def _words(text: str) -> list[str]:
    return [word for word in text.lower().split() if word != "a"]


def test_questions_without_an_answer(two_trials: TwoTrials, tmp_path: Path) -> None:
    def some(random: np.random.Generator) -> dict[str, Any]:
        row = asked(random)
        if random.random() < 0.5:
            row |= {"question": "no", "answers": {"text": [], "answer_start": []}}
        return row

    write_rows(tmp_path / "t", some)
    with pytest.raises(DataError, match="may_lack=True"):
        QuestionAnswering("t").open(tmp_path, tmp_path, 0)
    ran = two_trials("bert", QuestionAnswering("t", may_lack=True), steps=60)
    assert any("" in predictions for predictions, _ in ran.found)


def test_a_question_that_leaves_no_room_for_its_text(
    two_trials: TwoTrials, tmp_path: Path
) -> None:
    write_rows(tmp_path / "t", lambda random: asked(random) | {"question": "a " * 9})
    with pytest.raises(ValueError, match="leave room for a text behind each question, got 12 "):
        two_trials("bert", QuestionAnswering("t"), max_length=12)
    # nothing was stored of it: the corrected study of the same name runs
    assert two_trials("bert", QuestionAnswering("t"), max_length=24).metrics


def labelled(random: np.random.Generator) -> dict[str, Any]:
    letters = some_letters(random)
    return {"text": " ".join(letters), "labels": sorted({"x", *letters} & {"a", "b", "c", "x"})}


def test_sets_of_classes(two_trials: TwoTrials, tmp_path: Path) -> None:
    write_rows(tmp_path / "t", labelled)
    names = ("micro_f1_of_sets", "macro_f1_of_sets", "subset_accuracy")
    task = MultiLabelClassification("t", metrics=names)
    ran = two_trials("bert", task, Prompt(length=2), steps=20)
    assert ran.bench.data.label_names == ("a", "b", "c", "x")
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        given = predictions > 0
        for average in ("micro", "macro"):
            expected = f1_score(labels, given, average=average, zero_division=0)
            assert metrics[f"{average}_f1_of_sets"] == pytest.approx(expected)
        assert metrics["subset_accuracy"] == pytest.approx(accuracy_score(labels, given))
    assert max(metrics["micro_f1_of_sets"] for metrics in ran.metrics) > 0.5


def test_superglue_tasks_by_name() -> None:
    for name in SUPERGLUE:
        task = superglue(name)
        assert task.name == f"superglue-{name}"
        assert task.to_dict()["source"] == {"name": "aps/super_glue", "config": name}
    with pytest.raises(DataError, match="boolq, cb, copa"):
        superglue("record")
