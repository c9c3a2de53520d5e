"""A study whose methods have a recipe of their own: every command reads it, nothing forgets it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftnas.studies.cli import main
from tests.studies.conftest import STUDY
from tests.studies.test_commands import inline_pool

OWN = (
    "Maybe(LoRA(rank=Integer(1, 4))), Maybe(IA3())",
    "LoRA(rank=Integer(1, 4), learning_rate=Choice(0.02, 0.05), rate_warmup=0.5), "
    "Maybe(IA3(learning_rate=0.3, weight_decay=0))",
)


def test_every_command_reads_it(
    study_file: Callable[..., str],
    workplace: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("peftnas.search.runner._ray", inline_pool)
    named = (study_file(OWN, text=STUDY), "--data", str(workplace / "data"))
    out = tmp_path / "runs"

    def ask(command: str, *arguments: str) -> Any:
        capfd.readouterr()
        place = () if command == "space" else ("--out", str(out))
        assert main([command, *named, *place, "--json", *arguments]) == 0
        return json.loads(capfd.readouterr().out)

    assert ask("space")["size"]["words"] == "8"
    summary = ask("run", "--trials", "3", "--workers", "1")
    assert (summary["trained"], summary["failed"]) == (3, 0)
    assert ask("run", "--trials", "3", "--workers", "1")["kept"] == 3
    page = Path(summary["report"]).read_text()
    assert "; lora 0.0" in page and "lora 0.5" in page
    row = ask("front")["front"][0]
    assert "lr 0.0" in row["words"] and "warmup 0.5" in row["words"]
    number = str(row["trial"])
    assert ask("evaluate", "--trial", number)["test_rows"] == 24
    for form in ("peftnas", "merged"):
        ask("export", "--trial", number, "--to", str(tmp_path / form), "--format", form)
    description = json.loads(next((tmp_path / "peftnas").rglob("architecture.json")).read_text())
    methods = {one["kind"]: one for one in description["architecture"]["methods"]}
    assert methods["lora"]["learning_rate"] in (0.02, 0.05)
    assert methods["lora"]["rate_warmup"] == 0.5

    # without its checkpoint it is trained again, by the same settings
    shutil.rmtree(out / "checkpoints" / number)
    note = ask("export", "--trial", number, "--to", str(tmp_path / "again"))["note"]
    assert "with the same learning curve" in note
