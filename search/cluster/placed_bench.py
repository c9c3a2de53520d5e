"""The bench of a worker, over weights and data that all workers of its machine share."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from peftnas.search.backbone import attention_of
from peftnas.search.cluster.placement import Bytes, Held, Packed, Placed, hold, pack, place
from peftnas.search.trial.bench import Bench, BenchSpec
from peftnas.search.trial.forms.form import form_to_dict


class BackboneChangedError(RuntimeError):
    """A trial has written into the frozen backbone; its worker cannot be trusted any more."""


@dataclass(frozen=True)
class Parcel:
    """What a worker needs to make its bench.

    Attributes:
        name: says which bench it is; of equal content for equal names.
        fetch: gives the packed ``BenchSpec``; asked once a machine.
        fetch_backbone: gives the files of the backbone by name, for a machine that lacks its
            folder; ``None``: they were not sent along.
        root: folder of what is placed; ``None`` for the usual one.
    """

    name: str
    fetch: Callable[[], Packed]
    fetch_backbone: Callable[[], Mapping[str, Bytes]] | None = None
    root: Path | None = None


class BackboneMissingError(RuntimeError):
    """This machine lacks the backbone's folder, and its files were not sent along."""


def open_spec(parcel: Parcel) -> tuple[BenchSpec, list[Held]]:
    """The spec of a parcel, with a backbone whose folder exists here.

    Raises:
        BackboneMissingError: if it does not, and its files did not come along.
    """
    placed = place(parcel.name, parcel.fetch, parcel.root)
    spec: BenchSpec = placed.value
    held = [placed.held]
    if not (spec.backbone.folder / "config.json").is_file():
        if parcel.fetch_backbone is None:
            raise BackboneMissingError(str(spec.backbone.folder))
        fetch = parcel.fetch_backbone

        def write(folder: Path) -> None:
            for name, content in fetch().items():
                content.tofile(folder / name)

        files = hold(f"backbone-{spec.backbone.sha256[:16]}", write, parcel.root)
        held.append(files)
        # reads the weights once more, so that files damaged on the way are found
        spec = replace(spec, backbone=replace(spec.backbone, folder=files.folder))
    return spec, held


def backbone_files(folder: Path) -> dict[str, Bytes]:
    """The files of a backbone's folder, without those of folders below."""
    return {
        file.name: np.fromfile(file, dtype=np.uint8)
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix in (".json", ".txt", ".model", ".safetensors")
    }


@dataclass
class _Weights:
    """A network with what is needed to see whether somebody wrote into it."""

    model: PreTrainedModel
    placed: Placed | None
    digest: str = ""


@dataclass
class _Kept:
    weights: dict[str, _Weights] = field(default_factory=dict)
    why_private: str = ""


class PlacedBench(Bench):
    """A bench whose backbone is mapped from a file that all workers of a machine share.

    On a GPU the weights are on the device, which processes do not share.

    Args:
        spec: what it is made of.
        device: "cpu" or "cuda".
        held: folders to keep.
        root: folder of what is placed.
        watched: whether :meth:`check_backbone` will be asked.
    """

    def __init__(
        self,
        spec: BenchSpec,
        device: str = "cpu",
        *,
        held: list[Held] | None = None,
        root: Path | None = None,
        watched: bool = False,
    ) -> None:
        super().__init__(
            spec.backbone, spec.data, spec.task, device=device, examples=spec.examples
        )
        self._held = held or []
        self._root = root
        self._watched = watched
        self._kept = _Kept()

    def model(self, dtype: str = "float32") -> PreTrainedModel:
        """The resident backbone; trials leave it as they found it."""
        if dtype not in self._kept.weights:
            found = self._load(dtype)
            if self._watched and found.placed is None:
                found.digest = _digest(found.model)
            self._kept.weights[dtype] = found
        return self._kept.weights[dtype].model

    @property
    def weights_words(self) -> str:
        """How the weights are held: "mapped", "private" with the reason, or "on the device"."""
        if self.device != "cpu":
            return "on the device"
        return f"private ({self._kept.why_private})" if self._kept.why_private else "mapped"

    def check_backbone(self) -> None:
        """Refuse a backbone that is not as it was loaded; takes about 1 s a GB.

        Raises:
            BackboneChangedError: if a trial has written into it.
        """
        for dtype, weights in self._kept.weights.items():
            same = (
                weights.placed.unchanged()
                if weights.placed is not None
                else _digest(weights.model) == weights.digest
            )
            if not same:
                raise BackboneChangedError(
                    f"the frozen weights of {self.backbone.name!r} ({dtype}) have changed: a "
                    "method wrote into them; it must leave the backbone as it found it"
                )

    def release(self) -> None:
        """Let go of the folders; nothing of this bench may be used afterwards."""
        for weights in self._kept.weights.values():
            if weights.placed is not None:
                weights.placed.held.release()
        for held in self._held:
            held.release()
        self._kept, self._held = _Kept(), []

    def _load(self, dtype: str) -> _Weights:
        if self.device != "cpu":
            return _Weights(self.form.load(self.backbone, dtype, self.device), None)

        def make() -> Packed:
            # names the weights that the study was checked with, or refuses
            checked = replace(self.backbone)
            return pack(self.form.load(checked, dtype, "cpu"))

        try:
            placed = place(self._weights_name(dtype), make, self._root)
        except OSError as error:  # a full or read-only temporary folder
            self._kept.why_private = f"{type(error).__name__}: {error}"
            return _Weights(self.form.load(self.backbone, dtype, "cpu"), None)
        return _Weights(placed.value, placed)

    def _weights_name(self, dtype: str) -> str:
        """Of equal content for equal names: all that decides what is loaded."""
        content = {
            "sha256": self.backbone.sha256,
            "config": (self.backbone.folder / "config.json").read_text(encoding="utf-8"),
            "form": [type(self.form).__module__, type(self.form).__qualname__],
            "settings": form_to_dict(self.form),
            "dtype": dtype,
            "attention": attention_of(dtype, "cpu"),
            "versions": [importlib.metadata.version(name) for name in ("torch", "transformers")],
        }
        text = json.dumps(content, sort_keys=True, default=str)
        return f"weights-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _digest(model: PreTrainedModel) -> str:
    """sha256 of all parameters and buffers, hex."""
    digest = hashlib.sha256()
    state: dict[str, Any] = dict(model.named_parameters()) | dict(model.named_buffers())
    for name in sorted(state):
        digest.update(name.encode())
        tensor = state[name].detach().cpu().contiguous()
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
