"""Processes that hold or write a study, for tests that kill or pause them.

``python -m tests.search.storage.writing_process hold URL OUT NAME`` takes the lease of a study,
says "holding", and keeps it; ``write URL OUT NAME N`` writes N trials under the lease.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from peftnas.search.storage import Patience, only_writer, open_study, open_to_write

ROOT = Path(__file__).parents[3]
DIRECTIONS = ["maximize", "minimize"]
CONTENT = {
    "backbone": {"sha256": "0", "parameters": 1000},
    "objectives": [
        {"name": "accuracy", "direction": "maximize"},
        {"name": "trainable_parameters", "direction": "minimize"},
    ],
}


def write_trials(url: str, out: Path, name: str, count: int) -> None:
    """Ask, describe and tell trials one after the other, as a driver does."""
    storage = open_to_write(url, Patience(unshown_s=0.05))
    with only_writer(storage, out, name):
        study = open_study(storage, name, directions=DIRECTIONS, content=CONTENT)
        print("writing", flush=True)
        for number in range(count):
            trial = study.ask()
            trial.suggest_float("rate", 1e-4, 1e-2, log=True)
            trial.set_user_attr("result", {"number": trial.number, "losses": [0.5] * 200})
            trial.set_constraint("feasible", 0.0)
            study.tell(trial, [number / count, float(count - number)])


def begin(*arguments: object) -> subprocess.Popen[str]:
    """This program, started, returned when it holds its study; ``with`` waits for its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.search.storage.writing_process", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in ("holding", "writing")
    return process


if __name__ == "__main__":
    act, url, out, name, *rest = sys.argv[1:]
    if act == "hold":
        with only_writer(open_to_write(url), Path(out), name):
            print("holding", flush=True)
            time.sleep(600)
    else:
        write_trials(url, Path(out), name, int(rest[0]))
