"""Texts with some answers of which one is right; a pooled head gives each answer a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.search.splits import ChoiceSplit
from peftnas.search.task_protocol import AnySplit, Split
from peftnas.search.trial.batches import Batch, Tokens, tokenise
from peftnas.search.trial.forms.form import Form, Outcome, Reader, Rows, pooled_outcome
from peftnas.search.trial.head import Attached, Head, build_head
from peftnas.search.trial.losses import loss_of
from peftnas.search.trial.reading import Reading, largest_sum, read_by_step

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.search.trial.classifier import Classifier

_FEWEST = 2  # answers of an example, where it is not known
ABSENT = -1e4  # score of an answer that an example does not have; finite, as all predictions are


@dataclass(frozen=True)
class ChoiceBatch(Batch):
    """The answers of some examples, each behind its text, one row an answer.

    Attributes:
        labels: (B,) number of the right answer.
        there: (B, K) bool, which answers each example has, K the most of the split.
    """

    there: Tensor


@dataclass(frozen=True)
class ChoiceRows:
    """Tokens of all answers of all examples.

    Attributes:
        tokens: one row an answer.
        starts: (n + 1,) where the answers of each example begin.
        labels: (n,) number of the right one.
    """

    tokens: Tokens
    starts: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        longest = np.maximum.reduceat(self.tokens.lengths, self.starts[:-1])
        lengths: npt.NDArray[np.int64] = longest * np.diff(self.starts)
        return lengths

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> ChoiceBatch:
        spans = [np.arange(self.starts[row], self.starts[row + 1]) for row in rows.tolist()]
        plain = self.tokens.batch(np.concatenate(spans), device)
        counts = np.diff(self.starts)
        there = np.arange(counts.max()) < counts[rows][:, None]
        return ChoiceBatch(
            plain.input_ids,
            plain.attention_mask,
            plain.token_type_ids,
            torch.from_numpy(self.labels[rows]).to(device),
            torch.from_numpy(there).to(device),
        )


class ChoiceHead(Head):
    """The score of each answer, by a head with one output.

    Args:
        one: gives (rows, 1).
    """

    def __init__(self, one: Head) -> None:
        super().__init__()
        self.one = one

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """(B, K)."""
        scores = self.one.answer(base, attached, batch).squeeze(-1)
        table = scores.new_full(batch.there.shape, ABSENT)
        return table.masked_scatter(batch.there, scores)


@dataclass(frozen=True)
class Choices(Form):
    """Splits are ``ChoiceSplit``; predictions (n, K), a score for each answer.

    Text and answer are read as a pair; ``pooling="native"`` is the head of the family's own
    sequence classifier with one output.
    """

    kind: ClassVar[str] = "choices"
    pools: ClassVar[bool] = True
    usage: ClassVar[str] = 'scores = model(["a text"], [["one answer", "another"]])'

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, ChoiceSplit)
        counts = [len(choices) for choices in split.choices]
        contexts = [one for one, n in zip(split.contexts, counts, strict=True) for _ in range(n)]
        choices = [choice for some in split.choices for choice in some]
        pairs = Split(contexts, choices, np.zeros(len(choices), dtype=np.int64))
        tokens = tokenise(pairs, reader.tokenizer, length, pad=reader.pad, types=reader.types)
        return ChoiceRows(tokens, np.concatenate([[0], np.cumsum(counts)]), split.labels)

    def reading(self, rows: Rows | None, length: int, size: int, outputs: int) -> Reading:
        if rows is None:
            return Reading(read_by_step(None, length, _FEWEST * size), 1)
        assert isinstance(rows, ChoiceRows)
        sequences = largest_sum(np.diff(rows.starts), size)
        return Reading(read_by_step(rows.tokens.lengths, length, size, sequences), 1)

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
        one = build_head(base, 1, pooling, causal=causal, dropout=dropout, seed=seed)
        return ChoiceHead(one)

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return loss_of(answer, labels)

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        return pooled_outcome(self, model, rows)

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        return np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``contexts, choices``."""
        contexts, choices = examples
        none = np.zeros(len(contexts), dtype=np.int64)
        return ChoiceSplit(list(contexts), [list(some) for some in choices], none)
