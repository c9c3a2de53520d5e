"""Texts, or pairs of texts, with a class or a number each; a pooled head answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from peftnas.search.errors import UsageError
from peftnas.search.task_protocol import AnySplit, Split, TaskData
from peftnas.search.trial.batches import tokenise
from peftnas.search.trial.forms.form import Form, Outcome, Reader, Rows, pooled_outcome
from peftnas.search.trial.head import Head, build_head
from peftnas.search.trial.losses import loss_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.search.trial.classifier import Classifier


@dataclass(frozen=True)
class Texts(Form):
    """Splits are :class:`~peftnas.search.task_protocol.Split`; predictions (n, n_outputs)."""

    kind: ClassVar[str] = "text"
    pools: ClassVar[bool] = True
    usage: ClassVar[str] = 'logits = classify(["a text"])'

    def check_data(self, data: TaskData) -> None:
        if data.label_names and len(np.unique(data.train.labels)) < 2:  # type: ignore[attr-defined]
            only = data.label_names[int(data.train.labels[0])]  # type: ignore[attr-defined]
            raise UsageError(
                "the train split must show at least two classes, got one only "
                f"({only!r}); check the label column"
            )

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, Split)
        return tokenise(split, reader.tokenizer, length, pad=reader.pad, types=reader.types)

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
        return build_head(base, n_outputs, pooling, causal=causal, dropout=dropout, seed=seed)

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return loss_of(answer, labels)

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        return pooled_outcome(self, model, rows)

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        if labels.dtype == np.int64:
            return np.eye(n_outputs, dtype=np.float32)[labels]
        return labels.astype(np.float32).reshape(len(labels), -1)

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``texts``, or ``texts, pairs``."""
        texts, pairs = (*examples, None)[:2]
        none = np.zeros(len(texts), dtype=np.int64)
        return Split(list(texts), None if pairs is None else list(pairs), none)
