"""Which study FILE is about, from its text alone."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from peftnas.search.storage import open_study, open_to_write, sqlite_url
from peftnas.studies.cli import main
from peftnas.studies.cli.named_study import named_study
from peftnas.studies.study_file import READY_MADE, load_study

CONTENT = {
    "backbone": {"parameters": 1000},
    "objectives": [
        {"name": "accuracy", "direction": "maximize"},
        {"name": "trainable_parameters", "direction": "minimize"},
    ],
}


def named(file: str, *changes: str, **options: str | None) -> object:
    given = {"out": None, "storage": None} | options
    return named_study(argparse.Namespace(file=file, changes=list(changes), **given))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("study = Study(name='mine', backbone='x')", "mine"),
        ("import peftnas\nstudy = peftnas.Study('mine')", "mine"),
        ("study = Study(**settings)", None),
        ("study = Study(name=NAME)", None),
        ("study = Study(name=f'{1}')", None),
        ("study = Study(name='mine')\nstudy = replace(study, name='other')", None),
        ("if True:\n    study = Study(name='mine')", None),
        ("def study():\n    pass", None),
        ("study = make(name='mine')", None),
        ("study = Study(", None),
        ("", None),
    ],
)
def test_a_name_is_read_only_where_the_text_says_it(
    tmp_path: Path, text: str, name: str | None
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    found = named(str(file))
    assert (found and found.name) == name  # type: ignore[attr-defined]


def test_it_is_the_study_that_running_the_file_gives() -> None:
    for word in READY_MADE:
        found = named(word)
        assert found is None or found.name == load_study(word).study.name  # type: ignore[attr-defined]
    assert named("quickstart").name == "quickstart"  # type: ignore[attr-defined]


def test_options_change_it_as_they_change_the_study(tmp_path: Path) -> None:
    found = named("quickstart", "recipe.steps=7", "name=other")
    assert found.name == "other" and found.out == Path("runs/other").absolute()  # type: ignore[attr-defined]
    found = named("quickstart", out=str(tmp_path), storage="sqlite:///x.db")
    assert found.out == tmp_path and found.url == "sqlite:///x.db"  # type: ignore[attr-defined]
    assert named("no_such_file.py") is None


def test_status_of_a_stored_study_does_not_run_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("raise RuntimeError('it was run')\nstudy = Study(name='mine')\n")
    storage = open_to_write(sqlite_url(tmp_path))
    study = open_study(storage, "mine", directions=["maximize", "minimize"], content=CONTENT)
    study.tell(study.ask(), [0.5, 10.0])
    for command in ("status", "front"):
        assert main([command, str(file), "--out", str(tmp_path)]) == 0
    assert "mine" in capsys.readouterr().out
    assert main(["status", str(file), "--out", str(tmp_path / "none")]) == 2
    assert "it was run" in capsys.readouterr().err


def test_looking_at_a_stored_study_loads_neither_torch_nor_transformers(tmp_path: Path) -> None:
    storage = open_to_write(sqlite_url(tmp_path))
    open_study(storage, "quickstart", directions=["maximize", "minimize"], content=CONTENT)
    code = (
        "import sys; from peftnas.studies.cli import main; "
        f"main(['status', 'quickstart', '--out', {str(tmp_path)!r}]); "
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert printed.stdout.strip().endswith("[]"), printed.stderr
