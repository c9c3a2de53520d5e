"""What a measurement was taken on, and the file that it is written to."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("peftnas", "torch", "transformers", "peft", "numpy")


def circumstances() -> dict[str, Any]:
    """Machine, versions, commit and date; JSON values."""
    return {
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write(out: Path | None, name: str, results: dict[str, Any]) -> None:
    """Write a measurement with its circumstances; nothing where ``out`` is ``None``."""
    if out is not None:
        text = json.dumps({"benchmark": name} | circumstances() | {"results": results}, indent=2)
        out.write_text(text + "\n")


def at_least(low: int) -> Callable[[str], int]:
    """A whole number of at least ``low``, as a type for argparse."""

    def number(text: str) -> int:
        if not text.isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"must be a whole number >= {low}, got {text!r}")
        return int(text)

    return number


def median(values: Sequence[float]) -> float:
    """The middle value, of an even number the lower one of two."""
    return sorted(values)[(len(values) - 1) // 2]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    """The commit of this source tree, "-dirty" where it was changed; "" outside of one."""
    here = Path(__file__).resolve().parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=here,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()
