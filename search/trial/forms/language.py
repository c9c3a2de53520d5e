"""Texts that a causal decoder continues through the head that it was pretrained with."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from peftnas.search.errors import UsageError
from peftnas.search.splits import PlainSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.search.trial.batches import Batch, Tokens, tokens_from
from peftnas.search.trial.forms.form import Form, Outcome, Reader, Rows, passes
from peftnas.search.trial.head import Attached, Head, without_cache
from peftnas.search.trial.own_head import check_own_head, own_auto
from peftnas.search.trial.reading import Reading, largest_sum, read_by_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.methods.anatomy import Anatomy
    from peftnas.search.backbone import Backbone
    from peftnas.search.trial.classifier import Classifier


@dataclass(frozen=True)
class ContinuedBatch(Batch):
    """Texts of which some tokens are to be told from those before them.

    Attributes:
        labels: (N,) those tokens, text after text.
        asked: (B, T) bool, the positions in front of them.
        owners: (N,) row of each.
    """

    asked: Tensor
    owners: Tensor


@dataclass(frozen=True)
class ContinuedRows:
    """Tokens of texts, and where in each the part begins that is to be told.

    Attributes:
        tokens: of the texts.
        first: (n,) number of the first token to tell, at least 1.
        labels: what the task's ``score`` takes.
    """

    tokens: Tokens
    first: npt.NDArray[np.int64]
    labels: Any

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.tokens.lengths

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> ContinuedBatch:
        plain = self.tokens.batch(rows, device)
        place = np.arange(plain.input_ids.shape[1])
        ends = self.lengths[rows][:, None]
        asked = torch.from_numpy((place >= self.first[rows][:, None] - 1) & (place < ends - 1))
        asked = asked.to(device)
        following = plain.input_ids.roll(-1, dims=1)
        return ContinuedBatch(
            plain.input_ids,
            plain.attention_mask,
            None,
            following[asked],
            asked,
            asked.nonzero()[:, 0],
        )


class OwnHead(Head):
    """The head of the model itself: it stays as it was pretrained, so nothing is trained here."""

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """(N, vocabulary) at the asked positions of a :class:`ContinuedBatch`."""
        kept = batch.asked.shape[1] - int(batch.asked.any(dim=0).nonzero()[0])
        logits = last_logits(base, batch, kept)
        return logits[batch.asked[:, -logits.shape[1] :]].float()


def last_logits(model: PreTrainedModel, batch: Any, kept: int) -> Tensor:
    """The logits at the last ``kept`` positions of a batch, or at more of them."""
    few = {"logits_to_keep": kept} if _keeps_few(model) else {}
    logits: Tensor = model(**batch.inputs(), **few, **without_cache(model)).logits
    return logits


class OwnWords(Form):
    """Forms that the backbone's own head answers, with a word at each position that counts."""

    def check_weights(self, backbone: Backbone) -> None:
        check_own_head(backbone)

    def load(self, backbone: Backbone, dtype: str, device: str) -> PreTrainedModel:
        return backbone.load(dtype, device, auto=own_auto(backbone))

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        lengths = None if rows is None else rows.lengths
        reads = read_by_step(lengths, length, size)
        if lengths is None:
            return Reading(reads, words=size * (length - 1))
        return Reading(reads, words=largest_sum(np.minimum(lengths, length) - 1, size))

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
        return OwnHead()

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(answer, labels)


@dataclass(frozen=True)
class Language(OwnWords):
    """Splits are ``PlainSplit``; each token of a text is told from those before it.

    Predictions are the negative log-likelihood of each text (n,), labels the number of its told
    tokens (n,). A text begins with the tokenizer's first-token sign, where it has one, and ends
    with its last-token sign unless it is cut.
    """

    kind: ClassVar[str] = "language"
    usage: ClassVar[str] = 'negative_log_likelihood = model(["a text"])'

    def check_backbone(self, name: str, anatomy: Anatomy) -> None:
        super().check_backbone(name, anatomy)
        if not anatomy.causal:
            raise UsageError(
                f"a language model needs a decoder, whose tokens see earlier ones only, got "
                f"{name!r} of type {anatomy.model_type!r}; take a causal one (llama, gpt2)"
            )

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, PlainSplit)
        ids = [
            [*begun(reader, text), *ended(reader)][:length]
            for text in bare_tokens(reader, split.texts)
        ]
        for number, row in enumerate(ids):
            if len(row) < 2:
                raise UsageError(
                    f"a text of a language model needs two tokens, got {len(row)} for text number "
                    f"{number}: {split.texts[number]!r}; drop such texts"
                )
        counts = np.array([len(row) - 1 for row in ids], dtype=np.int64)
        return ContinuedRows(
            tokens_from(ids, None, counts, reader.pad), np.ones_like(counts), counts
        )

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        sums = likelihoods(model, rows)
        return Outcome(sums, float(sums.sum()) / int(rows.labels.sum()))

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        return np.zeros(len(labels))

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``texts``."""
        (texts,) = examples
        return PlainSplit(list(texts))


def likelihoods(model: Classifier, rows: Rows) -> npt.NDArray[np.float64]:
    """The negative log-likelihood of the told part of each example, (n,)."""
    sums = torch.zeros(len(rows), dtype=torch.float64)
    for numbers, batch, answer in passes(model, rows):
        each = nn.functional.cross_entropy(answer, batch.labels, reduction="none").double().cpu()
        sums.index_add_(0, torch.from_numpy(numbers)[batch.owners.cpu()], each)
    return sums.numpy()


def bare_tokens(reader: Reader, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of texts, without signs of their beginning or end."""
    encoded = reader.tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    return ids


def begun(reader: Reader, ids: Sequence[int]) -> list[int]:
    """Tokens behind the sign that a text begins with, where the tokenizer has one."""
    first = reader.tokenizer.bos_token_id
    return list(ids) if first is None else [first, *ids]


def ended(reader: Reader) -> list[int]:
    """The sign that a text ends with, where the tokenizer has one."""
    last = reader.tokenizer.eos_token_id
    return [] if last is None else [last]


def _keeps_few(model: PreTrainedModel) -> bool:
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters
