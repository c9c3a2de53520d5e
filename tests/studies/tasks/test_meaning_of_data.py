"""Data that can be read in two ways: which of them a task takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Sequence as Many

from peftnas.studies.tasks import (
    DataError,
    MultiLabelClassification,
    QuestionAnswering,
    TextClassification,
    TokenTagging,
)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def of_classes(column: str, classes: list[str], held: list[int]) -> DatasetDict:
    features = Features({column: Many(ClassLabel(names=classes)), "words": Many(Value("string"))})
    rows = {column: [held] * 20, "words": [["a", str(i)] for i in range(20)]}
    return DatasetDict(train=Dataset.from_dict(rows, features=features))


@pytest.mark.parametrize(
    ("held", "says"), [([1, -1], "got -1 in row 1"), ([7, 1], "got 7 in row")]
)
def test_numbers_that_are_no_class_are_not_read_from_the_end(held: list[int], says: str) -> None:
    names = ["O", "B-x", "I-x"]
    # a data set of the hub refuses 7 itself; a table does not
    from peftnas.studies.tasks.tables import Table

    table = Table({"tags": [held], "words": [["a", "b"]]}, "train", {"tags": tuple(names)})
    with pytest.raises(DataError, match=f"class numbers from 0 to 2, .*{says}"):
        TokenTagging("t")._split(table, ())
    table = Table({"labels": [held], "text": ["a"]}, "train", {"labels": tuple(names)})
    with pytest.raises(DataError, match=f"class numbers from 0 to 2, .*{says}"):
        MultiLabelClassification("t")._split(table, tuple(names))


def test_withheld_tags_of_a_data_set(tmp_path: Path) -> None:
    task = TokenTagging(of_classes("tags", ["O", "B-x"], [1, -1]))
    with pytest.raises(DataError, match="got -1 in row 1"):
        task.open(None, tmp_path, 0)


def test_an_answer_is_looked_for_as_a_word_first(tmp_path: Path) -> None:
    row = {"question": "q", "context": "the category has a cat in it", "answers": "cat"}
    write(
        tmp_path / "t/train.jsonl", [row | {"context": row["context"] + str(i)} for i in range(9)]
    )
    data = QuestionAnswering("t").open(tmp_path, tmp_path, 0)
    assert set(data.train.starts.tolist()) == {19}  # type: ignore[attr-defined]
    # inside a word where it is no word
    write(
        tmp_path / "u/train.jsonl",
        [row | {"answers": "tego", "context": f"category {i}"} for i in range(9)],
    )
    data = QuestionAnswering("u").open(tmp_path, tmp_path, 0)
    assert set(data.train.starts.tolist()) == {2}  # type: ignore[attr-defined]


def test_tags_that_train_lacks_may_come_elsewhere(tmp_path: Path) -> None:
    for split, tag in (("train", "B-x"), ("dev", "B-y"), ("test", "B-z")):
        rows = [{"words": f"a {i}", "tags": f"{tag} O"} for i in range(9)]
        write(tmp_path / f"t/{split}.jsonl", rows)
    task = TokenTagging("t")
    data = task.open(tmp_path, tmp_path, 0)
    assert data.label_names == ("B-x", "O")
    assert task.score([["B-x", "O"]], [["B-y", "O"]]) == {"span_f1": 0.0, "tag_accuracy": 0.5}


def test_what_is_held_out_shares_no_text_with_a_split_of_its_own(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": i % 2} for i in range(60)]
    write(tmp_path / "t/train.jsonl", rows)
    write(tmp_path / "t/dev.jsonl", rows[:40])
    task = TextClassification("t", test=0.3)
    data, test = task.open(tmp_path, tmp_path, 0), task.test(tmp_path, tmp_path, 0)
    assert len(test) == 18
    assert not set(test.texts) & {*data.validation.texts, *data.train.texts}  # type: ignore[attr-defined]
    write(tmp_path / "t/dev.jsonl", rows)
    with pytest.raises(DataError, match="validation split.*; "):
        task.open(tmp_path, tmp_path, 0)
