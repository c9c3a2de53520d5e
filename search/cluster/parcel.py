"""What all workers of a pool get: the packed spec, the user's classes, the backbone's files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import ray

from peftnas.search.cluster.by_value import kinds_in, travel_by_value
from peftnas.search.cluster.worker import Sent

if TYPE_CHECKING:
    from peftnas.search.trial.bench import BenchSpec


class Parcels:
    """Puts into Ray's object store, once, what workers make their benches of.

    Args:
        spec: of the bench.
        modules: the user's own, whose classes workers cannot import.
        check_backbone: see ``worker.Sent``.
        out: folder of the study, which workers have to see; ``None``: not looked at.
    """

    def __init__(
        self,
        spec: BenchSpec,
        modules: Sequence[ModuleType],
        check_backbone: bool,
        out: Path | None,
    ) -> None:
        from peftnas.search.cluster.placement import pack

        travel_by_value(modules)
        self._kinds = kinds_in(modules)
        packed = pack(spec)
        self._name = f"study-{packed.sha256[:16]}"
        self._spec: Any = ray.put(packed)
        self._folder = spec.backbone.folder
        self._backbone: Any = None
        self._check = check_backbone
        self._mark = None if out is None else out / f".seen-by-workers-{uuid.uuid4().hex}"
        if self._mark is not None:
            self._mark.touch()

    def of(self, device: str, gpu_share: float) -> Sent:
        """What a worker on this device gets."""
        return Sent(
            self._name,
            self._spec,
            self._kinds,
            device,
            gpu_share,
            self._check,
            "" if self._mark is None else str(self._mark),
            self._backbone,
        )

    def close(self) -> None:
        """Remove the mark from the folder of the study."""
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)

    def add_backbone(self) -> None:
        """Send the backbone's files along from here on, for machines that lack its folder."""
        from peftnas.search.cluster.placed_bench import backbone_files

        if self._backbone is None:
            self._backbone = ray.put(backbone_files(self._folder))
