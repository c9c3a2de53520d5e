"""What a run ran on, in words for its report: no host names, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import psutil

PACKAGES = ("peftnas", "torch", "transformers", "optuna", "ray")


def machine_words() -> str:
    """Cores, memory, operating system, such as ``2 cores, 8 GB memory, Linux x86_64``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory().total / 1e9
    return (
        f"{cores} core{'s' * (cores != 1)}, {memory:.0f} GB memory, "
        f"{platform.system()} {platform.machine()}"
    )


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide about a trial's result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # run from a checkout that is not installed
    return found
