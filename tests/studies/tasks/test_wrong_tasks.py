"""What is wrong with a task is one sentence with rule, value and remedy, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftnas.search.errors import UsageError
from peftnas.search.trial.forms.form import form_of
from peftnas.studies.tasks import (
    DataError,
    ImageClassification,
    LanguageModelling,
    MultiLabelClassification,
    MultipleChoice,
    QuestionAnswering,
    TextClassification,
    TextGeneration,
    TextRegression,
    TokenTagging,
    ZeroShotImages,
    glue,
    superglue,
    vtab,
)

Row = Callable[[int], dict[str, Any]]
WORDS = {"no": "bad", "yes": "good"}


def one_sentence(error: BaseException) -> str:
    """The message, which must say the rule, what was given, and what to do."""
    text = str(error)
    assert isinstance(error, UsageError)
    assert "\n" not in text and ("must" in text or "need" in text), text
    assert " got " in text and "; " in text.split(" got ", 1)[1], text
    return text


DEFINITIONS: dict[str, tuple[Callable[[], object], str]] = {
    "metrics of a number": (lambda: TextClassification("a.csv", metrics=5), "metrics must.*got 5"),
    "metrics twice": (
        lambda: TextClassification("a.csv", metrics=("accuracy", "accuracy")),
        "metrics must be distinct.*; name each once",
    ),
    "a metric of another kind": (
        lambda: TextClassification("a.csv", metrics="pearson"),
        "got 'pearson', which does not compare classes; pick one of accuracy",
    ),
    "a share as text": (lambda: TextClassification("a.csv", validation="0.1"), "got '0.1'"),
    "a share above 1": (
        lambda: TextClassification("a.csv", test=1.5),
        "got 1.5; take such as 0.1",
    ),
    "splits as a list": (lambda: TextClassification("a.csv", splits=["train"]), "splits must"),
    "a split that is none": (
        lambda: TextClassification("a.csv", splits={"dev": "mine"}),
        "splits must have the keys train, validation, test, got 'dev'",
    ),
    "a column that is a number": (
        lambda: TextClassification("a.csv", text=3),
        "text must be the name of a column, or a text with names in braces, got 3",
    ),
    "a text without a column": (
        lambda: TextClassification("a.csv", text="{{x}}"),
        "name a column",
    ),
    "a format": (lambda: TextClassification("a.csv", text="{text:d}"), "in braces, got"),
    "a position": (lambda: LanguageModelling("a.csv", text="{} x"), "in braces, got"),
    "label words in a list": (
        lambda: TextClassification("a.csv", label_words=["yes", "no"]),
        "label_words must be a dict from class to word",
    ),
    "an empty label word": (
        lambda: TextClassification("a.csv", label_words=WORDS | {"no": " "}),
        "label_words must.*got ' ' for 'no'",
    ),
    "a template of a number": (
        lambda: TextClassification("a.csv", label_words=WORDS, template=5),
        "template must.*got 5",
    ),
    "no choices": (lambda: MultipleChoice("a.csv", choices=()), r"choices must.*got \(\)"),
    "choices of a number": (lambda: MultipleChoice("a.csv", choices=5), "choices must.*got 5"),
    "f1 of choices": (
        lambda: MultipleChoice("a.csv", metrics=("accuracy", "f1")),
        "metrics of MultipleChoice must be accuracy.*got 'f1'",
    ),
    "an empty separator": (
        lambda: MultiLabelClassification("a.csv", separator=""),
        "separator must be a text, got ''",
    ),
    "no token for an answer": (
        lambda: QuestionAnswering("a.csv", longest_answer=0),
        "longest_answer must be a whole number >= 1, got 0",
    ),
    "a text for a number of tokens": (
        lambda: QuestionAnswering("a.csv", longest_answer="x"),
        "longest_answer must be a whole number >= 1, got 'x'",
    ),
    "a text for yes or no": (
        lambda: QuestionAnswering("a.csv", may_lack="no"),
        "may_lack must be True or False, got 'no'",
    ),
    "half a token": (
        lambda: TextGeneration("a.csv", max_new_tokens=2.5),
        "max_new_tokens must be a whole number >= 1, got 2.5",
    ),
    "new tokens as text": (
        lambda: TextGeneration("a.csv", max_new_tokens="5"),
        "max_new_tokens must be a whole number >= 1, got '5'",
    ),
    "an open brace": (lambda: TextGeneration("a.csv", "{input"), "in braces, got"),
    "a template without a column": (lambda: TextGeneration("a.csv", "x"), "name a column"),
    "replace by a number": (
        lambda: TextGeneration("a.csv", replace={"a": 1}),
        r"replace must.*got \{'a': 1\}",
    ),
    "replace as text": (lambda: TextGeneration("a.csv", replace="x"), "replace must.*got 'x'"),
    "a class named twice": (
        lambda: ZeroShotImages("a.npz", template="{} {}"),
        r"template must hold \{\} once.*got '\{\} \{\}'",
    ),
    "another name in a template of images": (
        lambda: ZeroShotImages("a.npz", template="{} of {name}"),
        r"template must hold \{\} once",
    ),
    "a template of images that is a number": (
        lambda: ZeroShotImages("a.npz", template=5),
        r"template must hold \{\} once.*got 5",
    ),
    "no GLUE task": (lambda: glue("sst-2"), "got 'sst-2'; did you mean 'sst2'"),
    "no SuperGLUE task": (lambda: superglue("BoolQ"), "got 'BoolQ'; did you mean 'boolq'"),
    "a list of VTAB tasks": (lambda: vtab(["a"]), r"got \['a'\]; "),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_wrong_definition(name: str) -> None:
    make, says = DEFINITIONS[name]
    with pytest.raises(DataError, match=says) as raised:
        make()
    one_sentence(raised.value)


def text(i: int) -> dict[str, Any]:
    return {"text": f"text {i}", "label": "yes" if i % 2 else "no"}


def chosen(i: int) -> dict[str, Any]:
    return {"text": f"text {i}", "choices": ["a", "b"], "label": i % 2}


def asked(i: int) -> dict[str, Any]:
    answers = {"text": ["b c"], "answer_start": [2]}
    return {"question": "is ?", "context": f"a b c {i}", "answers": answers}


def tagged(i: int) -> dict[str, Any]:
    return {"words": ["a", str(i)], "tags": ["B-x", "O"]}


def with_(row: Row, **changed: Any) -> Row:
    return lambda i: row(i) | changed


NAN = float("nan")
DATA: dict[str, tuple[Row, Any, str]] = {
    "a label that is no number": (
        lambda i: text(i) | ({} if i else {"label": NAN}),
        TextClassification("t"),
        "a label in every row, got nan in row 1",
    ),
    "labels that are dicts": (
        lambda i: text(i) | {"label": {"x": i % 2}},
        TextClassification("t"),
        r"one class a row, got \{'x': 0\} in row 1",
    ),
    "label words of another class": (
        text,
        TextClassification("t", label_words=WORDS | {"maybe": "so"}),
        "label_words must have the classes of the data, got 'maybe'; the classes: no, yes",
    ),
    "a class without a label word": (
        text,
        TextClassification("t", label_words={"yes": "good"}),
        "label_words must have a word for each class, got none for 'no'",
    ),
    "f1 of three classes": (
        lambda i: text(i) | {"label": i % 3},
        TextClassification("t", metrics="f1"),
        "got 3 .*; use macro_f1",
    ),
    "targets that are all equal": (
        with_(text, label=3.0),
        TextRegression("t"),
        "column 'label' of train.jsonl must hold different numbers, got only 3",
    ),
    "classes that are no list": (
        lambda i: {"text": f"{i}", "labels": i % 3},
        MultiLabelClassification("t"),
        "column 'labels' of train.jsonl must hold lists of classes.*got 0 in row 1",
    ),
    "a class that is none": (
        lambda i: {"text": f"{i}", "labels": [None]},
        MultiLabelClassification("t"),
        r"got \[None\] in row 1",
    ),
    "a separator that never comes": (
        lambda i: {"text": f"{i}", "labels": "x y" if i % 2 else "x"},
        MultiLabelClassification("t", separator=","),
        "separator must stand between classes.*got ','",
    ),
    "answers as one text": (
        with_(chosen, choices="yes|no|b"),
        MultipleChoice("t"),
        r"must hold a list of answers.*got 'yes\|no\|b' in row 1; pass choices=\(COLUMN",
    ),
    "answers that are dicts": (
        with_(chosen, choices=[{"t": "a"}, "b"]),
        MultipleChoice("t"),
        r"must hold a list of answers.*got \[\{'t': 'a'\}, 'b'\] in row 1",
    ),
    "answers that are missing": (
        with_(chosen, choices=["a", None]),
        MultipleChoice("t"),
        r"must hold a list of answers.*got \['a', None\] in row 1",
    ),
    "answers under another key": (
        with_(chosen, choices={"texts": ["a", "b"]}),
        MultipleChoice("t"),
        "must hold a list of answers",
    ),
    "answers that are a number": (
        with_(chosen, choices=7),
        MultipleChoice("t"),
        "must hold a list of answers.*got 7",
    ),
    "no place of an answer": (
        with_(asked, answers={"text": ["b"]}),
        QuestionAnswering("t"),
        r"a list of texts, or a dict of text and answer_start \(a list each\), got \{'text'",
    ),
    "answers of a number": (
        with_(asked, answers=4),
        QuestionAnswering("t"),
        "must hold a text, a list of texts, or a dict.*got 4 in row 1",
    ),
    "an answer that is blank": (
        with_(asked, answers={"text": [" "], "answer_start": [1]}),
        QuestionAnswering("t"),
        "must hold parts of the text, got ' ' in row 1",
    ),
    "tags that are a number": (
        with_(tagged, tags=5),
        TokenTagging("t"),
        "column 'tags' of train.jsonl must hold lists of tags.*got 5 in row 1",
    ),
    "a tag that is none": (
        with_(tagged, tags=["B-x", None]),
        TokenTagging("t"),
        r"must hold lists of tags.*got \['B-x', None\] in row 1",
    ),
    "words that are a number": (
        with_(tagged, words=5),
        TokenTagging("t"),
        "column 'words' of train.jsonl must hold lists of words.*got 5 in row 1",
    ),
    "BILOU": (
        with_(tagged, tags=["U-x", "O"]),
        TokenTagging("t"),
        r"tags such as B-name, I-name and O.*got 'U-x'.*; write .*B- .*or take metrics=",
    ),
    "pictures by their path": (
        lambda i: {"image": f"{i}.png", "label": i % 2},
        ImageClassification("t"),
        "must hold an image, got '0.png'; .*npz",
    ),
}


@pytest.mark.parametrize("name", DATA)
def test_wrong_data(name: str, tmp_path: Path) -> None:
    row, task, says = DATA[name]
    (tmp_path / "t").mkdir()
    lines = [json.dumps(row(i)) for i in range(30)]
    (tmp_path / "t/train.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=says) as raised:
        form_of(task).check_data(task.open(tmp_path, tmp_path, 0))
    one_sentence(raised.value)


IMAGES = np.zeros((6, 8, 8, 3), dtype=np.uint8)
CLASSES = np.arange(6) % 2
BYTES = {"data": np.zeros(10, dtype=np.uint8), "offsets": np.array([0, 5, 10])}
ARRAYS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer labels": (
        {"x": IMAGES, "y": CLASSES[:4]},
        "a label for each image, got 6 images and 4",
    ),
    "more labels": ({"x": IMAGES[:4], "y": CLASSES}, "got 4 images and 6 labels"),
    "fewer offsets": (BYTES | {"labels": CLASSES[:3]}, "got 2 images and 3 labels"),
    "labels of two axes": ({"x": IMAGES, "y": CLASSES[:, None]}, r"got shape \(6, 1\)"),
    "labels between classes": ({"x": IMAGES, "y": CLASSES / 2}, "got float64"),
    "a class below 0": ({"x": IMAGES, "y": CLASSES - 1}, "got '-1'"),
    "images of reals": ({"x": IMAGES / 255, "y": CLASSES}, "uint8.*got float64"),
    "channels first": (
        {"x": IMAGES.transpose(0, 3, 1, 2), "y": CLASSES},
        r"\(height, width, 3\).*got \(3, 8, 8\)",
    ),
    "objects": ({"x": np.array([None] * 6), "y": CLASSES}, "without Python objects"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_wrong_images(name: str, tmp_path: Path) -> None:
    arrays, says = ARRAYS[name]
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(DataError, match=says) as raised:
        ImageClassification("train.npz").open(tmp_path, tmp_path, 0)
    assert "train.npz" in one_sentence(raised.value) or name == "a class below 0"


def test_a_file_that_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "train.npz").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="train.npz must be an npz file") as raised:
        ImageClassification("train.npz").open(tmp_path, tmp_path, 0)
    one_sentence(raised.value)


def test_names_for_labels_of_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "train.npz", x=images, y=np.array(["cat", "dog"] * 10))
    data = ImageClassification("train.npz").open(tmp_path, tmp_path, 0)
    assert data.label_names == ("cat", "dog")


def test_the_separator_is_part_of_what_makes_the_task() -> None:
    plain, split = MultiLabelClassification("t"), MultiLabelClassification("t", separator="|")
    assert plain.to_dict() != split.to_dict()
