"""Where there is no PostgreSQL, one sentence says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.services import postgres


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_INSTALLED", tmp_path)
    monkeypatch.setattr(os, "get_exec_path", lambda: [str(tmp_path)])


@pytest.mark.usefixtures("nothing_installed")
def test_without_apt_get_it_is_installed_by_hand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert postgres.main(["true"]) == 1
    assert "there is no apt-get here; install PostgreSQL" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_installed")
def test_without_root_it_says_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert postgres.main(["true"]) == 1
    assert "run apt-get install postgresql" in capsys.readouterr().err


@pytest.mark.usefixtures("nothing_installed")
def test_what_apt_get_says_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    failed = subprocess.CompletedProcess([], 100, b"", b"E: no network\n")
    monkeypatch.setattr(subprocess, "run", lambda *given, **named: failed)
    assert postgres.main(["true"]) == 1
    assert "apt-get update failed: E: no network; install" in capsys.readouterr().err
