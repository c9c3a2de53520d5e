"""``from_dict(to_dict(x)) == x`` and equal keys, in processes that hash strings differently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import peftnas

ROOT = Path(__file__).parents[2]


def run(seed: int, file: Path, mode: str, hash_seed: str) -> str:
    folders = [str(ROOT), str(Path(peftnas.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-m", "tests.methods.round_trips", str(seed), str(file), mode],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_objects_come_back_in_another_process(tmp_path):
    file = tmp_path / "objects.json"
    first = run(3, file, "write", "0")
    digests = {run(3, file, "read", hash_seed) for hash_seed in ("1", "random")}
    assert digests == {first}
