"""The studies and tasks that come with the package: listed, and taken by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftnas.studies import tasks
from peftnas.studies.cli import main
from peftnas.studies.study_file import READY_MADE, load_study

LITERATURE = Path(__file__).parents[2] / "studies/literature"


def listed(command: str, capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    capfd.readouterr()
    assert main([command, "--json"]) == 0
    found: list[dict[str, object]] = json.loads(capfd.readouterr().out)
    return found


@pytest.mark.parametrize("name", READY_MADE)
def test_a_name_stands_for_the_study_of_that_name(name: str) -> None:
    assert load_study(name).study.name == name


def test_every_study_of_the_literature_has_a_name() -> None:
    modules = {module.rpartition(".")[2] for module in READY_MADE.values()}
    written = {path.stem for path in LITERATURE.glob("*.py") if "\nstudy = " in path.read_text()}
    assert written == modules - {"quickstart"}


def test_they_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    rows = listed("studies", capfd)
    assert [row["name"] for row in rows] == list(READY_MADE) and all(row["says"] for row in rows)
    assert main(["studies"]) == 0
    assert "AutoPEFT: serial and parallel adapter" in capfd.readouterr().out


def test_tasks(capfd: pytest.CaptureFixture[str]) -> None:
    rows = listed("tasks", capfd)
    others = {"METRICS", "DataError", "Metric"}
    assert {row["name"] for row in rows} == set(tasks.__all__) - others
    assert all(row["says"] and row["arguments"] for row in rows)
    assert main(["tasks"]) == 0
    assert "TokenTagging\n  A tag for each word" in capfd.readouterr().out
