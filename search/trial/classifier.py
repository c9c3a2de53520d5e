"""Classifier: backbone, attached modules and head as one thing that answers a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.search.trial.batches import EVALUATION_TOKENS, Batch, Tokens, evaluation_order

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.methods.attach import AttachedModules
    from peftnas.search.trial.head import Head


class Classifier:
    """A backbone with an architecture attached to it, and a head.

    Args:
        base: the backbone.
        attached: the modules on it.
        head: reads its hidden states.
    """

    def __init__(self, base: PreTrainedModel, attached: AttachedModules, head: Head) -> None:
        self.base = base
        self.attached = attached
        self.head = head

    def train(self, mode: bool = True) -> None:
        """Turns dropout of modules and head on or off; the backbone stays in eval mode."""
        self.attached.train(mode)
        self.head.train(mode)

    def logits(self, batch: Batch) -> Tensor:
        """The answer, (B, n_outputs) float32."""
        return self.head.answer(self.base, self.attached, batch)

    def predict(self, tokens: Tokens) -> npt.NDArray[np.float32]:
        """The answers to a whole split in its order, (n, n_outputs), without dropout."""
        self.train(False)
        answers: npt.NDArray[np.float32] | None = None
        device = self.base.device.type
        with torch.no_grad():
            for rows in evaluation_order(tokens.lengths, EVALUATION_TOKENS[device]):
                batch = tokens.batch(rows, device)
                logits = self.logits(batch).cpu().numpy()
                if answers is None:
                    answers = np.empty((len(tokens), logits.shape[1]), dtype=np.float32)
                answers[rows] = logits
        assert answers is not None, "a split has at least one example"
        return answers

    def detach(self) -> None:
        """Leaves the backbone as it was before."""
        self.attached.detach()
