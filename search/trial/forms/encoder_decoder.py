"""Inputs for an encoder with the targets of its decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from peftnas.search.splits import TargetSplit
from peftnas.search.trial.batches import Batch, Tokens, tokens_from

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from peftnas.search.trial.forms.form import Reader


@dataclass(frozen=True)
class SequenceBatch(Batch):
    """Inputs with targets.

    Attributes:
        labels: (N,) tokens of the targets, one target after the other.
        written: (B, t) what the decoder reads: each target one place to the right.
        asked: (B, t) bool, where it reads something.
        owners: (N,) row of each label.
    """

    written: Tensor
    asked: Tensor
    owners: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """What the model is called with."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "decoder_input_ids": self.written,
            "decoder_attention_mask": self.asked.long(),
        }


@dataclass(frozen=True)
class SequenceRows:
    """Tokens of inputs and of targets.

    Attributes:
        tokens: of the inputs.
        targets: of the targets.
        begin: token that a decoder starts from.
        labels: targets as texts.
        tokenizer: turns what is generated back into text.
    """

    tokens: Tokens
    targets: Tokens
    begin: int
    labels: Any
    tokenizer: PreTrainedTokenizerBase

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.tokens.lengths + self.targets.lengths

    @property
    def told(self) -> npt.NDArray[np.int64]:
        """Tokens of each target, (n,)."""
        return self.targets.lengths

    def prompts(self) -> list[npt.NDArray[np.int32]]:
        """The tokens of each input."""
        return np.split(self.tokens.ids, self.tokens.starts[1:-1])

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> SequenceBatch:
        read, target = self.tokens.batch(rows, device), self.targets.batch(rows, device)
        asked = target.attention_mask.bool()
        written = target.input_ids.roll(1, dims=1)
        written[:, 0] = self.begin
        return SequenceBatch(
            read.input_ids,
            read.attention_mask,
            None,
            target.input_ids[asked],
            written,
            asked,
            asked.nonzero()[:, 0],
        )


def sequence_rows(split: TargetSplit, reader: Reader, length: int, most: int) -> SequenceRows:
    """The rows of a split.

    Args:
        split: inputs and targets.
        reader: of an encoder-decoder whose tokenizer has a sign that ends a text.
        length: tokens of an input.
        most: tokens of a target.
    """
    quiet = {"truncation": True, "return_attention_mask": False, "return_token_type_ids": False}
    inputs = reader.tokenizer(split.inputs, max_length=length, **quiet)["input_ids"]
    targets = reader.tokenizer(text_target=split.targets, max_length=most, **quiet)["input_ids"]
    last = reader.tokenizer.eos_token_id
    # a tokenizer that ends no text leaves it to us: the decoder has to learn where to stop
    ends = not any(last in row for row in targets)
    targets = [[*row, last][:most] if ends else row for row in targets]
    begin = getattr(reader.config, "decoder_start_token_id", None)
    nothing = np.zeros(len(split), dtype=np.int64)
    return SequenceRows(
        tokens_from(inputs, None, nothing, reader.pad),
        tokens_from(targets, None, nothing, reader.pad),
        reader.pad if begin is None else begin,
        split.targets,
        reader.tokenizer,
    )
