"""How many workers a cluster has room for, and what part of a GPU each gets."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Devices = Literal["auto", "gpu", "cpu", "all"]

USABLE = 0.92
"""Part of a GPU's memory that trials may fill; CUDA itself takes some for each process."""

_SLACK = 1e-6  # shares such as 1/3 are not exact


@dataclass(frozen=True)
class Node:
    """One machine of a cluster, as Ray counts it.

    Attributes:
        name: Ray's id of it.
        cpus: that Ray may give away.
        gpus: that Ray may give away.
    """

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Room:
    """How many workers fit on a cluster.

    Attributes:
        on_gpus: workers with a part of a GPU.
        on_cpus: workers without.
    """

    on_gpus: int
    on_cpus: int

    @property
    def total(self) -> int:
        return self.on_gpus + self.on_cpus


def room(nodes: Iterable[Node], threads: int, gpu_share: float, devices: Devices) -> Room:
    """What fits on some nodes at once.

    Args:
        nodes: that are there and will stay.
        threads: CPUs that a worker takes.
        gpu_share: part of one GPU that a worker takes; 0: none works on a GPU.
        devices: "gpu" or "cpu" alone, "all" of both, or "auto": GPUs where there is any.
    """
    on_gpus = on_cpus = 0
    for node in nodes:
        left = int(node.cpus / threads + _SLACK)
        if devices != "cpu" and gpu_share > 0:
            fit = min(left, int(node.gpus) * per_gpu(gpu_share))
            on_gpus += fit
            left -= fit
        on_cpus += left
    if devices == "gpu" or (devices == "auto" and on_gpus):
        on_cpus = 0
    return Room(on_gpus, on_cpus)


def per_gpu(share: float) -> int:
    """How many workers with this share run on one GPU."""
    return int(1 / share + _SLACK)


def gpu_share(gpus: int, workers: int) -> float:
    """The part of one GPU for each worker, such that all of them fit: no share spans two GPUs.

    Args:
        gpus: of the cluster.
        workers: at least 1.
    """
    return 1.0 / math.ceil(workers / gpus) if gpus else 0.0


def share_for(needed_bytes: int, device_bytes: int) -> float:
    """The part of one GPU for each worker, such that trials of a size run side by side.

    Args:
        needed_bytes: predicted peak of the largest trial, above 0.
        device_bytes: memory of the smallest GPU, above 0.
    Returns:
        1 / k for k trials on a GPU; 1 where not even one fits, whose trials then go by size.
    """
    return 1.0 / max(1, int(USABLE * device_bytes / needed_bytes))
