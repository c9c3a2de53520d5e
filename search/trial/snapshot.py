"""Snapshot: the file from which a trial goes on, bit for bit as if it had never stopped.

It lies in the trial's folder until the artifact is whole: safetensors, whose metadata hold the
rest as JSON. A snapshot replaces the one before it in one move, so a process that is killed at any
moment leaves the old one or the new one. What is read is compared with a digest first.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from peftnas.search.errors import CannotSaveError

SNAPSHOT = "snapshot.safetensors"
_FORMAT = "1"
_STALE_S = 60.0  # a draft that nobody has written to for so long


class BadSnapshotError(ValueError):
    """A snapshot that a trial must not go on from; it says why."""


@dataclass(frozen=True)
class Snapshot:
    """What a trial goes on from.

    Attributes:
        key: of the job; see ``TrialJob.key``.
        seed: of the job.
        step: optimiser steps that were made.
        state: JSON values.
        tensors: on any device when written, on the CPU when read.
    """

    key: str
    seed: int
    step: int
    state: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Make a snapshot the one of a trial, on disk for good when this returns.

    Args:
        folder: of the trial; made when missing.
        snapshot: it stays as it is.
    Raises:
        CannotSaveError: if it cannot be written; the one before it is still there.
    """
    tensors = _on_cpu(snapshot.tensors)
    content = {"key": snapshot.key, "seed": snapshot.seed, "step": snapshot.step}
    text = json.dumps({**content, "state": snapshot.state}, allow_nan=False)
    metadata = {"format": _FORMAT, "content": text, "sha256": _digest(text, tensors)}
    with _draft_in(folder, sum(part.nbytes for part in tensors.values())) as draft:
        safetensors.torch.save_file(tensors, draft, metadata)
        _sync(draft)
        os.replace(draft, folder / SNAPSHOT)
        _sync(folder)


def read_snapshot(folder: Path | str) -> Snapshot | None:
    """The snapshot that lies in a trial's folder; ``None`` if there is none.

    Raises:
        BadSnapshotError: if it is torn, damaged, or of another format.
    """
    path = Path(folder) / SNAPSHOT
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadSnapshotError(f"the snapshot {path} cannot be read: {error.strerror}") from error
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        known, text, digest = (metadata[name] for name in ("format", "content", "sha256"))
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise BadSnapshotError(f"the snapshot {path} is torn or damaged ({error})") from error
    if known != _FORMAT:
        raise BadSnapshotError(f"the snapshot {path} has format {known!r}, not {_FORMAT!r}")
    if digest != _digest(text, tensors):
        raise BadSnapshotError(f"the snapshot {path} is damaged: its digest is another")
    return Snapshot(**json.loads(text), tensors=tensors)


def usable_snapshot(folder: Path | str, key: str, seed: int, until: int) -> Snapshot | None:
    """The snapshot that a job goes on from; ``None`` if there is none.

    Args:
        folder: of the trial.
        key: of the job.
        seed: of the job.
        until: step that the job trains to.
    Raises:
        BadSnapshotError: if there is one that the job must not go on from.
    """
    found = read_snapshot(folder)
    if found is None:
        return None
    if (found.key, found.seed) != (key, seed):
        raise BadSnapshotError(f"the snapshot in {folder} is that of another training")
    if found.step > until:
        raise BadSnapshotError(
            f"the snapshot in {folder} is at step {found.step}, beyond step {until}"
        )
    return found


def remove_snapshot(folder: Path | str) -> None:
    """Remove the snapshot of a trial and what was left half-written; the folder too if empty."""
    folder = Path(folder)
    if not folder.is_dir():
        return
    (folder / SNAPSHOT).unlink(missing_ok=True)
    for draft in folder.glob(".snapshot.*.part"):
        draft.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _draft_in(folder: Path, size: int) -> Iterator[Path]:
    """A name to write to, which is free again at the end.

    Raises:
        CannotSaveError: in place of what went wrong, which is the machine's fault (a full disk).
    """
    draft = folder / f".snapshot.{uuid.uuid4().hex[:8]}.part"
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(".snapshot.*.part"):
            # a young one may belong to a worker that is writing, even to one whose driver is gone
            if time.time() - stale.stat().st_mtime > _STALE_S:
                stale.unlink()
        yield draft
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        room = _free_words(folder)
        if made and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
        raise CannotSaveError(
            f"a snapshot of {size / 1e6:.1f} MB cannot be written to {folder}: {error}{room}"
        ) from error


def _free_words(folder: Path) -> str:
    """What room the disk has, such as ``; 3.0 MB are free there``."""
    try:
        return f"; {shutil.disk_usage(folder).free / 1e6:.1f} MB are free there"
    except OSError:
        return ""


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, each with a storage of its own, as the format wants it."""
    found: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        part = tensor.detach().cpu().contiguous()
        if part.untyped_storage().data_ptr() in storages:
            part = part.clone()
        storages.add(part.untyped_storage().data_ptr())
        found[name] = part
    return found


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of everything that a snapshot says."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        part = tensors[name]
        digest.update(f"|{name}|{part.dtype}|{tuple(part.shape)}|".encode())
        digest.update(part.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
