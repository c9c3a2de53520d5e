"""Images with a class each; a pooled head answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.methods.reads import Reads
from peftnas.search.backbone import PICTURES
from peftnas.search.errors import UsageError
from peftnas.search.splits import ImageSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.search.trial.forms.form import Form, Outcome, Reader, Rows, pooled_outcome
from peftnas.search.trial.head import Attached, Head, PooledHead, output_width, start_head
from peftnas.search.trial.losses import loss_of
from peftnas.search.trial.reading import Reading

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.trial.classifier import Classifier

_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size.

    Attributes:
        pixels: (B, 3, S, S) float32, normalised.
        labels: (B,) int64.
    """

    pixels: Tensor
    labels: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """What the backbone is called with."""
        return {"pixel_values": self.pixels}


@dataclass(frozen=True)
class ImageRows:
    """The images of a split, all of one size.

    Attributes:
        pixels: (n, S, S, 3) uint8.
        labels: (n,) int64.
        mean, std: of each colour, over values in [0, 1].
        tokens: of one image.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.full(len(self), self.tokens, dtype=np.int64)

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> ImageBatch:
        pixels = torch.from_numpy(self.pixels[rows]).to(device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (self.mean, self.std))
        return ImageBatch((pixels - mean) / std, torch.from_numpy(self.labels[rows]).to(device))


class ImageHead(PooledHead):
    """One linear layer on the mean of all patches, or on the first position (``[CLS]``)."""

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        hidden = base(pixel_values=batch.pixels.to(base.dtype)).last_hidden_state
        real = attached.real(hidden)
        logits: Tensor = self(real, torch.ones(real.shape[:2], device=real.device))
        return logits


@dataclass(frozen=True)
class Images(Form):
    """Splits are ``ImageSplit``; predictions (n, n_outputs).

    Images get the size that the backbone reads: squeezed, or where its
    ``preprocessor_config.json`` cuts out the middle, resized and cut in the same proportions.
    Colours are scaled as that file says.
    ``pooling="native"`` is the linear layer on the first position of ViT's own classifier.
    """

    kind: ClassVar[str] = "images"
    pools: ClassVar[bool] = True
    usage: ClassVar[str] = "logits = model([image])  # uint8 arrays of (height, width, 3)"

    def check_backbone(self, name: str, anatomy: Anatomy) -> None:
        if len(anatomy.stacks) > 1 or anatomy.stacks[0].patches is None:
            raise UsageError(
                f"a task on images needs a backbone that is one stack over patches, got {name!r} "
                f"of type {anatomy.model_type!r}; take a vit"
            )

    def length(self, most: int) -> int:
        return 0

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, ImageSplit)
        return image_rows(split, reader.folder, reader.config)

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        return Reading(Reads(size if rows is None else min(size, len(rows)), 1), outputs)

    def head(
        self,
        base: PreTrainedModel,
        n_outputs: int,
        pooling: str,
        *,
        causal: bool,
        dropout: float,
        seed: int,
    ) -> Head:
        pooling = "first" if pooling == "native" else pooling
        return start_head(ImageHead(output_width(base), n_outputs, pooling, dropout), seed)

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return loss_of(answer, labels)

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        return pooled_outcome(self, model, rows)

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        return np.eye(n_outputs, dtype=np.float32)[labels]

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``images``: arrays (height, width, 3) of uint8."""
        (images,) = examples
        return ImageSplit(list(images), np.zeros(len(images), dtype=np.int64))


def image_rows(split: ImageSplit, folder: Path, config: PretrainedConfig) -> ImageRows:
    """The images of a split as a backbone reads them.

    Args:
        split: images of any size.
        folder: of the backbone.
        config: of the network on images.
    """
    file = folder / PICTURES
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    size = int(config.image_size)
    resample = int(said.get("resample", 2))  # 2: bilinear, in Pillow's numbers
    shorter = round(size * _margin(said)) if said.get("do_center_crop", False) else None
    fitted = [_fitted(image, size, resample, shorter) for image in split.images]
    mean, std = _normalisation(said)
    tokens = (size // int(config.patch_size)) ** 2 + 1
    return ImageRows(np.stack(fitted), split.labels, mean, std, tokens)


def _margin(said: Mapping[str, Any]) -> float:
    """How much longer than the part that is cut out the shorter side is made: 256 / 224."""
    found = [_side(said.get(name)) for name in ("size", "crop_size")]
    return max(1.0, found[0] / found[1]) if all(found) else 1.0


def _side(held: Any) -> int:
    """A size as the versions of transformers write it: a number, or a dict; 0: not said."""
    if isinstance(held, Mapping):
        held = held.get("shortest_edge") or held.get("height")
    return int(held or 0)


def _normalisation(said: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each colour, over values in [0, 1]."""
    plain = not said.get("do_normalize", True)
    mean = (0.0,) * 3 if plain else said.get("image_mean", _HALF)
    std = (1.0,) * 3 if plain else said.get("image_std", _HALF)
    factor = said.get("rescale_factor", 1 / 255) if said.get("do_rescale", True) else 1.0
    # both are of values that are scaled by the factor
    largest = 255 * factor
    return tuple(one / largest for one in mean), tuple(one / largest for one in std)


def _fitted(
    image: npt.NDArray[np.uint8], size: int, resample: int, shorter: int | None
) -> npt.NDArray[np.uint8]:
    """An image of (S, S, 3): squeezed, or its ``shorter`` side fitted and its middle cut out."""
    from PIL import Image

    height, width = image.shape[:2]
    wanted = (size, size)
    if shorter is not None:
        # the longer side is rounded down, as transformers does
        wanted = (shorter * width // min(height, width), shorter * height // min(height, width))
    found = image
    if (width, height) != wanted:
        found = np.asarray(Image.fromarray(image).resize(wanted, Image.Resampling(resample)))
    top, left = (found.shape[0] - size) // 2, (found.shape[1] - size) // 2
    return found[top : top + size, left : left + size]
