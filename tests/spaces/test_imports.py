"""Importing spaces is light: none of torch, optuna, ray."""

from __future__ import annotations

import subprocess
import sys


def test_a_fresh_import_loads_no_heavy_package() -> None:
    code = (
        "import sys, peftnas.spaces\n"
        "print([name for name in ('torch', 'optuna', 'ray', 'transformers') "
        "if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
