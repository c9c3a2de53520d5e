"""optuna-dashboard on a study of ours; needs ``pip install optuna-dashboard`` beside us."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest

from peftnas.search.storage import open_study, open_to_write, sqlite_url
from tests.search.storage.scenes import fill
from tests.search.storage.writing_process import CONTENT, DIRECTIONS

PROGRAM = shutil.which("optuna-dashboard")


@pytest.mark.skipif(PROGRAM is None, reason="optuna-dashboard is not installed")
def test_the_dashboard_shows_names_values_and_attributes(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    study = open_study(open_to_write(url), "a", directions=DIRECTIONS, content=CONTENT)
    fill(study)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(PROGRAM), "--host", "127.0.0.1", "--port", str(port), url]
    with subprocess.Popen(command, env=clean, stderr=subprocess.DEVNULL) as server:
        try:
            (listed,) = answer(server, f"http://127.0.0.1:{port}/api/studies")["study_summaries"]
            shown = answer(server, f"http://127.0.0.1:{port}/api/studies/{listed['study_id']}")
        finally:
            server.kill()
    assert listed["study_name"] == "a" and listed["directions"] == ["maximize", "minimize"]
    assert shown["objective_names"] == ["accuracy", "trainable_parameters"]
    kept = optuna.load_study(study_name="a", storage=url)
    assert [trial["number"] for trial in shown["trials"]] == [0, 1, 2, 3, 4]
    best = {trial["number"] for trial in shown["best_trials"]}
    # it knows no constraints: the trial that breaks one stands among its best
    assert best == {trial.number for trial in kept.best_trials} | {0}
    first = shown["trials"][0]
    assert first["values"] == kept.trials[0].values
    attributes = {one["key"]: one["value"] for one in first["user_attrs"]}
    assert "größe → 模型" in attributes["words"] and "rungs" in attributes
    assert {one["name"] for one in first["params"]} == {"rate", "rank", "gate"}


def answer(server: subprocess.Popen[bytes], url: str) -> Any:
    """What the server says, as soon as it is up."""
    ends = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.URLError:
            assert server.poll() is None and time.monotonic() < ends, "no dashboard"
            time.sleep(0.2)
