"""Loading FILE: a module of its own, whose classes can travel to workers, with fields changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peftnas.search.errors import UsageError
from peftnas.studies.study_file import changed, load_study

CUSTOM = """

class Shouting(TextClassification):
    pass
"""


def test_two_files_of_one_name_do_not_share_a_module(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (workplace / "study.py").read_text()
    files = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "study.py").write_text(text.replace('"tiny"', f'"{name}"') + CUSTOM)
        monkeypatch.syspath_prepend(folder)
        files.append(load_study(str(folder / "study.py")))
    one, two = files
    assert (one.study.name, two.study.name) == ("one", "two")
    assert one.module.__name__ != two.module.__name__
    assert sys.modules[one.module.Shouting.__module__] is one.module
    assert one.by_value and one.base == tmp_path / "one"


def test_classes_of_the_file_travel_by_value(workplace: Path, tmp_path: Path) -> None:
    import cloudpickle

    path = tmp_path / "own.py"
    own = (
        (workplace / "study.py").read_text().replace("study = Study(", CUSTOM + "\nstudy = Study(")
    )
    path.write_text(own.replace("task=TextClassification", "task=Shouting"))
    file = load_study(str(path))
    cloudpickle.register_pickle_by_value(file.module)
    try:
        packed = cloudpickle.dumps(file.study.task)
    finally:
        cloudpickle.unregister_pickle_by_value(file.module)
    del sys.modules[file.module.__name__]
    assert type(cloudpickle.loads(packed)).__name__ == "Shouting"


def test_neighbours_of_the_file_can_be_imported(workplace: Path, tmp_path: Path) -> None:
    (tmp_path / "peftnas_test_neighbour.py").write_text("name = 'neighbour'\n")
    text = (workplace / "study.py").read_text().replace('"tiny"', "name")
    (tmp_path / "study.py").write_text("from peftnas_test_neighbour import name\n" + text)
    assert load_study(str(tmp_path / "study.py")).study.name == "neighbour"


def test_the_word_quickstart_is_a_study() -> None:
    file = load_study("quickstart")
    assert file.study.name == "quickstart" and not file.by_value


def test_fields_are_changed(study_file: Callable[..., str]) -> None:
    study = load_study(study_file()).study
    new = changed(study, ["recipe.steps=200", "recipe.schedule=cosine", "name=other"])
    assert (new.recipe.steps, new.recipe.schedule, new.name) == (200, "cosine", "other")
    assert new.recipe.learning_rate == study.recipe.learning_rate
    assert changed(study, ["recipe.learning_rate=3e-4"]).recipe.learning_rate == 3e-4


def test_a_file_that_exits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(UsageError, match="line 2: SystemExit: 3"):
        load_study(str(tmp_path / "exits.py"))
