"""Texts with any number of classes each: a pooled head judges each class by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from peftnas.search.task_protocol import AnySplit, Split, TaskData
from peftnas.search.trial.forms.texts import Texts


@dataclass(frozen=True)
class LabelSets(Texts):
    """Splits are ``Split`` with labels (n, classes), 1 at those of a text; predictions likewise.

    A class is given where its prediction is above 0.
    """

    kind: ClassVar[str] = "label_sets"
    usage: ClassVar[str] = 'logits = model(["a text"])'

    def check_data(self, data: TaskData) -> None:
        return None

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(answer, labels)

    def disagreement(self, one: Tensor, other: Tensor) -> Tensor:
        """Of independent yes-or-no questions: symmetric, half of the sum of both directions."""
        difference = (one.sigmoid() - other.sigmoid()) * (one - other)
        return difference.sum(dim=1).mean() / 2

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        return 2 * labels - 1

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``texts``, or ``texts, pairs``."""
        plain = super().unlabelled(*examples)
        assert isinstance(plain, Split)
        return Split(plain.texts, plain.pairs, np.zeros((len(plain), 1), dtype=np.float32))
