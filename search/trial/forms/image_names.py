"""Images told by the name of their class: the similarity of image and text answers (CLIP)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.methods.reads import Reads
from peftnas.search.errors import UsageError
from peftnas.search.splits import ImageSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.search.trial.forms.form import Reader, Rows
from peftnas.search.trial.forms.images import ImageBatch, ImageRows, Images, image_rows
from peftnas.search.trial.head import Attached, Head
from peftnas.search.trial.reading import Reading

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.methods.anatomy import Anatomy

_NAME_TOKENS = 16  # of the text of a class, where it is not known


@dataclass(frozen=True)
class NamedBatch(ImageBatch):
    """Images, and the texts of all classes.

    Attributes:
        ids, mask: (classes, T) tokens of the texts.
    """

    ids: Tensor
    mask: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """What the model is called with."""
        return super().inputs() | {"input_ids": self.ids, "attention_mask": self.mask}


@dataclass(frozen=True)
class NamedRows(ImageRows):
    """Images with the texts of all classes; see :class:`NamedBatch`."""

    ids: npt.NDArray[np.int64]
    mask: npt.NDArray[np.int64]

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> NamedBatch:
        plain = super().batch(rows, device)
        ids, mask = (torch.from_numpy(one).to(device) for one in (self.ids, self.mask))
        return NamedBatch(plain.pixels, plain.labels, ids, mask)


class SimilarityHead(Head):
    """The model's own scaled similarity of images and texts; nothing is trained here."""

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """(B, classes)."""
        named = batch.inputs() | {"pixel_values": batch.pixels.to(base.dtype)}
        logits: Tensor = base(**named).logits_per_image
        return logits.float()


@dataclass(frozen=True)
class ImageNames(Images):
    """Splits are ``ImageSplit``; predictions (n, n_outputs), similarities with the classes' texts.

    An architecture without methods is the zero-shot classifier.

    Attributes:
        template: text of a class, with ``{}`` for its name.
    """

    kind: ClassVar[str] = "image_names"
    pools: ClassVar[bool] = False

    template: str = "a photo of a {}."

    def check_backbone(self, name: str, anatomy: Anatomy) -> None:
        if {stack.name for stack in anatomy.stacks} != {"text", "vision"}:
            raise UsageError(
                "zero-shot classification of images needs a backbone with a tower for texts and "
                f"one for images, got {name!r} of type {anatomy.model_type!r}; take a clip"
            )

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, ImageSplit)
        images = image_rows(split, reader.folder, reader.config.vision_config)
        most = reader.config.text_config.max_position_embeddings
        tokens = reader.tokenizer(
            [self.template.format(name) for name in names], truncation=True, max_length=most
        )["input_ids"]
        longest = max(map(len, tokens))
        ids = np.array([[*row, *[reader.pad] * (longest - len(row))] for row in tokens])
        mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in tokens])
        return NamedRows(
            images.pixels, images.labels, images.mean, images.std, images.tokens, ids, mask
        )

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        if rows is None:
            return Reading(Reads(outputs, _NAME_TOKENS, padded=True, images=size))
        assert isinstance(rows, NamedRows)
        classes, tokens = rows.ids.shape
        padded = not bool(rows.mask.all())
        return Reading(Reads(classes, tokens, padded, images=min(size, len(rows))))

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
        return SimilarityHead()
