"""Tasks: what they read, what they hold out, and what they refuse."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from peftnas.search.task_protocol import TaskData
from peftnas.studies.tasks import DataError, TextClassification, TextRegression, glue
from peftnas.studies.tasks import hub_datasets as hub_module
from peftnas.studies.tasks.glue import GLUE

FEATURES = Features({"sentence": Value("string"), "label": ClassLabel(names=["bad", "good"])})


def rows(start: int, count: int, classes: str = "ab") -> list[tuple[str, str]]:
    return [(f'text "{i}', classes[i % len(classes)]) for i in range(start, start + count)]


def write_tsv(path: Path, data: list[tuple[str, str]], head: str = "text\tlabel") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *("\t".join(row) for row in data)]) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tsv(tmp_path / "task/train.tsv", rows(0, 40))
    write_tsv(tmp_path / "task/dev.tsv", rows(100, 10))
    write_tsv(tmp_path / "task/test.tsv", rows(200, 12))
    return tmp_path


def opened(task: Any, folder: Path, seed: int = 0) -> TaskData:
    return task.open(folder, Path("/nowhere"), seed)


def test_folder_with_all_splits(folder: Path) -> None:
    task = TextClassification("task")
    data = opened(task, folder)
    assert (len(data.train), len(data.validation)) == (40, 10)
    assert data.label_names == ("a", "b") and data.n_outputs == 2
    assert data.train.texts[0] == 'text "0' and data.train.labels.dtype == np.int64
    test = task.test(folder, Path("/nowhere"), 0)
    assert test.texts == [text for text, _ in rows(200, 12)]
    assert not set(test.texts) & {*data.train.texts, *data.validation.texts}


def test_paths_are_looked_for_in_data_then_beside_the_file(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other"
    write_tsv(elsewhere / "task/train.tsv", rows(0, 60))
    task = TextClassification("task")
    assert len(task.open(None, folder, 0).train) == 40
    assert len(task.open(elsewhere, folder, 0).train) < 60  # two splits held out
    assert len(TextClassification("task/dev.tsv").open(elsewhere, folder, 0).train) < 10


def test_missing_validation_is_held_out_by_seed(folder: Path) -> None:
    (folder / "task/dev.tsv").unlink()
    task = TextClassification("task", validation=0.25)
    data, again, other = opened(task, folder), opened(task, folder), opened(task, folder, 1)
    assert data.facts["held_out_of_train"] == {"validation": 10}
    assert sorted(data.train.texts + data.validation.texts) == sorted(t for t, _ in rows(0, 40))
    assert data.validation.texts == again.validation.texts
    assert data.validation.texts != other.validation.texts
    assert np.bincount(data.validation.labels).tolist() == [5, 5]


def test_equal_texts_are_held_out_together(folder: Path) -> None:
    write_tsv(folder / "one.tsv", rows(0, 30) * 3)
    data = opened(TextClassification("one.tsv"), folder)
    test = TextClassification("one.tsv").test(folder, Path("/nowhere"), 0)
    splits = [set(data.train.texts), set(data.validation.texts), set(test.texts)]
    assert sum(map(len, splits)) == 30 == len(set.union(*splits))
    assert len(data.train) + len(data.validation) + len(test) == 90


def test_hidden_test_labels_are_held_out_of_train() -> None:
    def split(count: int, labels: list[int]) -> Dataset:
        texts = [f"s{len(labels)}-{i}" for i in range(count)]
        return Dataset.from_dict({"sentence": texts, "label": labels}, features=FEATURES)

    data = DatasetDict(
        train=split(50, [0, 1] * 25), validation=split(6, [0, 1] * 3), test=split(4, [-1] * 4)
    )
    task = TextClassification(data, text="sentence")
    found = opened(task, Path("/nowhere"))
    test = task.test(None, Path("/nowhere"), 0)
    assert found.label_names == ("bad", "good")
    assert found.facts["held_out_of_train"] == {"test": len(test)} and len(test) > 0
    assert len(found.train) + len(test) == 50
    assert set(test.labels.tolist()) == {0, 1}


def test_pairs_and_regression(tmp_path: Path) -> None:
    data = [(f"first {i}", f"second {i}", f"{i / 10}") for i in range(50)]
    write_tsv(tmp_path / "p.tsv", data, "one\ttwo\tscore")  # type: ignore[arg-type]
    found = opened(TextRegression("p.tsv", "one", "two", "score"), tmp_path)
    assert found.n_outputs == 1 and found.label_names == ()
    assert found.train.labels.dtype == np.float32 and found.train.pairs is not None
    for text, pair, label in zip(
        found.train.texts, found.train.pairs, found.train.labels, strict=True
    ):
        assert text.split()[1] == pair.split()[1] == f"{round(float(label) * 10)}"


def test_whole_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    write_tsv(tmp_path / "n.tsv", [(f"t{i}", str(i % 12)) for i in range(120)])
    assert opened(TextClassification("n.tsv"), tmp_path).label_names == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("change", "task", "says"),
    [
        (None, TextClassification("none.tsv"), "'none.tsv' must exist.*--data"),
        (None, TextClassification("./none"), "'./none' must exist"),
        (
            None,
            TextClassification("task", label="lable"),
            "label='lable' must be a column of train",
        ),
        (None, TextClassification("task", text="words"), "which has 'text', 'label'"),
        (None, TextClassification("task", text_pair="b"), "text_pair='b' must be a column"),
        (("train", []), TextClassification("task"), "at least one row"),
        (("train", rows(0, 9, "a")), TextClassification("task"), "at least two classes"),
        (("train", rows(0, 9, "abc")), TextClassification("task", metrics="f1"), "use macro_f1"),
        (("dev", rows(0, 9, "abz")), TextClassification("task"), "classes of the training.*'z'"),
        (("test", rows(0, 9, "abz")), TextClassification("task"), "column 'label' of test.tsv"),
        (("dev", [("x", "")]), TextClassification("task"), "a label in every row"),
        (("train", rows(0, 9)), TextRegression("task"), "finite numbers, got 'a' in row 1"),
    ],
)
def test_wrong_data_are_refused(
    folder: Path, change: tuple[str, list[tuple[str, str]]] | None, task: Any, says: str
) -> None:
    if change is not None:
        write_tsv(folder / f"task/{change[0]}.tsv", change[1])
    with pytest.raises(DataError, match=says):
        opened(task, folder)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TextClassification("a.tsv", metrics="auc"), "accuracy, macro_f1.*got 'auc'"),
        (lambda: TextClassification("a.tsv", metrics="pearson"), "does not compare classes"),
        (lambda: TextClassification("a.tsv", metrics=()), "at least one"),
        (lambda: TextClassification("a.tsv", validation=1.5), r"in \(0, 1\), got 1.5"),
        (lambda: TextClassification(""), "source must name"),
        (lambda: TextClassification(Dataset.from_dict({"a": [1]})), "'train': dataset"),
        (lambda: TextClassification({"test": "a.tsv"}), "must have a split 'train'"),
        (lambda: glue("sst3"), "must be one of cola, sst2"),
    ],
)
def test_wrong_definitions_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_fingerprint_has_no_folder_of_this_machine(folder: Path) -> None:
    here = TextClassification(str(folder / "task"))
    assert str(folder) not in str(here.to_dict())
    assert here.to_dict() == TextClassification("task").to_dict()
    assert here.to_dict() != TextClassification("task", label="x").to_dict()


def test_fingerprint_of_data_in_memory_follows_the_content() -> None:
    def task(label: int) -> TextClassification:
        data = {"text": ["a", "b"], "label": [0, label]}
        return TextClassification(DatasetDict(train=Dataset.from_dict(data)))

    assert task(1).to_dict() == task(1).to_dict() != task(2).to_dict()


def test_tasks_travel_to_workers(folder: Path) -> None:
    task = pickle.loads(pickle.dumps(TextClassification("task")))
    assert len(opened(task, folder).train) == 40


def test_glue_asks_the_hub_only_when_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def split(count: int, hidden: bool = False) -> Dataset:
        labels = [-1] * count if hidden else [i % 2 for i in range(count)]
        texts = [f"{count} {i}" for i in range(count)]
        return Dataset.from_dict({"sentence": texts, "label": labels}, features=FEATURES)

    asked = []

    def open_hub(name: str, config: str | None) -> dict[str, Dataset]:
        asked.append((name, config))
        return {"train": split(40), "validation": split(8), "test": split(5, hidden=True)}

    monkeypatch.setattr("peftnas.studies.tasks.sources.open_hub", open_hub)
    task = glue("sst2")
    assert asked == [] and task.metrics == ("accuracy",)
    data = opened(task, Path("/nowhere"))
    assert asked == [("nyu-mll/glue", "sst2")]
    assert len(data.validation) == 8 and data.facts["held_out_of_train"] == {"test": 4}


def test_every_glue_task_is_made() -> None:
    for name, declared in GLUE.items():
        task = glue(name)
        assert task.metrics == declared.metrics and task.name == f"glue-{name}"
    assert glue("mnli").to_dict()["splits"]["validation"] == "validation_matched"


@pytest.mark.parametrize(
    ("reachable", "says"), [(True, "Couldn't reach"), (False, "the hub cannot be reached")]
)
def test_a_hub_that_gives_nothing_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, reachable: bool, says: str
) -> None:
    import datasets

    def load_dataset(name: str, config: str | None) -> None:
        raise ConnectionError(f"Couldn't reach {name!r} on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("peftnas.studies.hub._reachable", lambda endpoint: reachable)
    with pytest.raises(DataError, match=f"no file or folder here.*{says}.*--data"):
        hub_module.open_hub("some-data", None)


def test_a_source_too_small_to_hold_out_of_is_refused(tmp_path: Path) -> None:
    write_tsv(tmp_path / "small.tsv", [("x", "a"), ("y", "b")])
    with pytest.raises(DataError, match="hold out at least one row"):
        opened(TextClassification("small.tsv"), tmp_path)


def test_a_named_split_has_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n")
    task = TextClassification(str(tmp_path), splits={"validation": "nope"})
    with pytest.raises(DataError, match="got 'nope' for validation; there are 'train'"):
        task.open(None, tmp_path, 0)


def test_files_that_are_not_called_train_are_named_by_splits(folder: Path) -> None:
    (folder / "task/train.tsv").rename(folder / "task/train_1.tsv")
    with pytest.raises(DataError, match=r"'train_1'; name one .* splits=\{'train': NAME\}"):
        opened(TextClassification("task"), folder)
    data = opened(TextClassification("task", splits={"train": "train_1"}), folder)
    assert len(data.train) == 40


def test_a_test_file_of_ones_own_has_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1\n" * 9)
    (tmp_path / "test.csv").write_text("text,foo\na,0\n")
    with pytest.raises(DataError, match=r"label.* column of test\.csv"):
        TextClassification(str(tmp_path)).open(None, tmp_path, 0)
