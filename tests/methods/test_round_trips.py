"""``from_dict(to_dict(x)) == x`` and equal keys, in processes that hash strings differently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import peftnas
from tests.methods.round_trips import main

ROOT = Path(__file__).parents[2]


def started(seed: int, file: Path, hash_seed: str) -> subprocess.Popen[str]:
    folders = [str(ROOT), str(Path(peftnas.__file__).parents[1])]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.methods.round_trips", str(seed), str(file), "read"],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(folders)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_objects_come_back_in_another_process(tmp_path):
    file = tmp_path / "objects.json"
    digest = main(3, file, read=False)
    for other in [started(3, file, hash_seed) for hash_seed in ("0", "4242")]:
        out, errors = other.communicate()
        assert other.returncode == 0, errors
        assert out.strip() == digest
