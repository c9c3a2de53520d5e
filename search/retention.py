"""Which checkpoints of a study stay on disk: those of the points on its front."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path


def checkpoint_folder(out: Path, number: int) -> Path:
    """Where the checkpoint of trial ``number`` lies, if it is kept."""
    return out / "checkpoints" / str(number)


def baseline_folder(out: Path, number: int) -> Path:
    """Where baseline ``number`` is written while it is trained."""
    return out / "checkpoints" / "baselines" / str(number)


def keep_only(folder: Path, numbers: Collection[int]) -> list[int]:
    """Remove the checkpoints of all other trials.

    Args:
        folder: holds one folder a trial, named by its number; anything else in it stays.
        numbers: of the trials to keep, those still running included.
    Returns:
        The numbers of the trials whose checkpoint was removed.
    """
    removed = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if entry.is_dir() and entry.name.isdigit() and int(entry.name) not in numbers:
            # a checkpoint is there whole or not at all, even when this is killed half-way
            shutil.rmtree(entry.rename(entry.with_name(f".{entry.name}.removed")))
            removed.append(int(entry.name))
    return removed


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written or half-removed; none may be at work now."""
    for entry in list(folder.iterdir()) if folder.is_dir() else []:
        if entry.is_dir() and entry.name.startswith("."):
            shutil.rmtree(entry)
