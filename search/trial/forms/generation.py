"""Texts to be answered with a text: the loss is on the target alone, the answer is generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import GenerationConfig

from peftnas.search.errors import NoRoomError, UsageError
from peftnas.search.splits import TargetSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.search.trial.batches import EVALUATION_TOKENS, tokens_from
from peftnas.search.trial.forms.encoder_decoder import SequenceRows, sequence_rows
from peftnas.search.trial.forms.form import Outcome, Reader, Rows
from peftnas.search.trial.forms.language import (
    ContinuedRows,
    OwnWords,
    bare_tokens,
    begun,
    ended,
    likelihoods,
)
from peftnas.search.trial.reading import Reading, largest_sum, read_by_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.backbone import Backbone
    from peftnas.search.trial.classifier import Classifier


@dataclass(frozen=True)
class PromptedRows(ContinuedRows):
    """Inputs and targets, one after the other, for a decoder.

    Attributes:
        tokenizer: turns what is generated back into text.
    """

    tokenizer: PreTrainedTokenizerBase

    def prompts(self) -> list[npt.NDArray[np.int32]]:
        """The tokens of each input."""
        starts = self.tokens.starts[:-1]
        pairs = zip(starts.tolist(), self.first.tolist(), strict=True)
        return [self.tokens.ids[start : start + first] for start, first in pairs]


@dataclass(frozen=True)
class Generation(OwnWords):
    """Splits are ``TargetSplit``; predictions are texts, generated greedily with a cache.

    A decoder reads the input and writes the target behind it; of an encoder-decoder the encoder
    reads the input. An input has room for ``length`` tokens of the recipe less those of a target.

    Attributes:
        max_new_tokens: tokens of a target; longer ones are cut, in training too.
        reads: what an input looks like, with names in braces where its texts come; said to those
            who load an export.
    """

    kind: ClassVar[str] = "generation"
    writes: ClassVar[bool] = True

    max_new_tokens: int = 64
    reads: str = "an input"

    @property
    def usage(self) -> str:
        return f"texts = model([{self.reads!r}])"

    def check_backbone(self, name: str, anatomy: Anatomy) -> None:
        reads_words = all(stack.tokens is not None for stack in anatomy.stacks)
        if not (reads_words and anatomy.causal):
            raise UsageError(
                "generation needs a decoder, or an encoder of words with its decoder, got "
                f"{name!r} of type {anatomy.model_type!r}; take llama or gpt2, or t5 or bart"
            )

    def load(self, backbone: Backbone, dtype: str, device: str) -> PreTrainedModel:
        model = super().load(backbone, dtype, device)
        # its own file may ask for beams or punish repeats; trials are compared on plain decoding
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        return model

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, TargetSplit)
        if reader.tokenizer.eos_token_id is None:
            raise UsageError(
                "generation needs a tokenizer with a sign that ends a text, where it learns to "
                "stop, got none; set eos_token and save the tokenizer again"
            )
        if reader.config.is_encoder_decoder:
            return sequence_rows(split, reader, length, self.max_new_tokens)
        room = self._room(length)
        ids, first = [], []
        texts = zip(
            bare_tokens(reader, split.inputs), bare_tokens(reader, split.targets), strict=True
        )
        for asked, target in texts:
            # of a long input the end is kept: what stands before the answer says what to do
            prompt = begun(reader, asked)
            prompt = prompt if len(prompt) <= room else [*prompt[:1], *prompt[1 - room :]]
            ids.append([*prompt, *[*target, *ended(reader)][: self.max_new_tokens]])
            first.append(len(prompt))
        nothing = np.zeros(len(ids), dtype=np.int64)
        tokens = tokens_from(ids, None, nothing, reader.pad)
        return PromptedRows(tokens, np.array(first), split.targets, reader.tokenizer)

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        most = self.max_new_tokens
        if rows is None:
            reads = read_by_step(None, length, size)
            return Reading(replace(reads, decoder_tokens=most), words=size * most)
        if isinstance(rows, SequenceRows):
            reads = read_by_step(rows.tokens.lengths, length, size)
            reads = replace(reads, decoder_tokens=int(rows.told.max()))
            return Reading(reads, words=largest_sum(rows.told, size))
        assert isinstance(rows, PromptedRows)
        told = rows.lengths - rows.first
        cut = np.minimum(rows.first, self._room(length)) + told
        return Reading(read_by_step(cut, length, size), words=largest_sum(told, size))

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        assert isinstance(rows, PromptedRows | SequenceRows)
        told = rows.tokens.lengths - rows.first if isinstance(rows, PromptedRows) else rows.told
        loss = float(likelihoods(model, rows).sum()) / int(told.sum())
        return Outcome(self.generate(model, rows), loss)

    def generate(self, model: Classifier, rows: PromptedRows | SequenceRows) -> list[str]:
        """What the model writes for each input."""
        prompts = rows.prompts()
        found = [""] * len(prompts)
        model.train(False)
        device = model.base.device
        for numbers in _of_equal_length(prompts, EVALUATION_TOKENS[device.type]):
            ids = torch.from_numpy(np.stack([prompts[number] for number in numbers]).astype(int))
            begin = rows.begin if isinstance(rows, SequenceRows) else None
            written = self._written(model.base, ids.to(device), rows.tokenizer, begin)
            texts = rows.tokenizer.batch_decode(written, skip_special_tokens=True)
            for number, text in zip(numbers, texts, strict=True):
                found[number] = text.strip()
        return found

    def _room(self, length: int) -> int:
        """Tokens of an input before a target."""
        room = length - self.max_new_tokens
        if room < 2:
            raise NoRoomError(
                f"recipe.max_length must leave room for an input before {self.max_new_tokens} new "
                f"tokens, got {length} in all; raise it, or lower max_new_tokens of the task"
            )
        return room

    def _written(
        self,
        model: PreTrainedModel,
        ids: Tensor,
        tokenizer: PreTrainedTokenizerBase,
        begin: int | None,
    ) -> Tensor:
        """The new tokens (B, t) behind inputs (B, T) of equal length."""
        last = tokenizer.eos_token_id
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.max_new_tokens,
            use_cache=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=last,
            pad_token_id=last if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
            decoder_start_token_id=begin,
        )
        with torch.no_grad():
            out = model.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
            )
        new: Tensor = out if model.config.is_encoder_decoder else out[:, ids.shape[1] :]
        return new

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``inputs``."""
        (inputs,) = examples
        return TargetSplit(list(inputs), [""] * len(inputs))


def _of_equal_length(
    prompts: Sequence[npt.NDArray[np.int32]], largest: int
) -> Iterator[list[int]]:
    """Numbers of inputs, batch by batch; without padding every method sees what it is to see."""
    by_length: dict[int, list[int]] = {}
    for number, prompt in enumerate(prompts):
        by_length.setdefault(len(prompt), []).append(number)
    for length, numbers in sorted(by_length.items()):
        size = max(1, largest // length)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]
