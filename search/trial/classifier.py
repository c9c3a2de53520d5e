"""Classifier: backbone, attached modules and head as one thing that answers a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from peftnas.methods.attach import AttachedModules
    from peftnas.search.trial.forms.form import AnyBatch, Form, Outcome, Rows
    from peftnas.search.trial.head import Head


class Classifier:
    """A backbone with an architecture attached to it, and a head.

    Args:
        base: the backbone, or a model around it where a form needs more of it.
        attached: the modules on it.
        head: reads its output.
        form: of the examples that are asked.
    """

    def __init__(
        self, base: PreTrainedModel, attached: AttachedModules, head: Head, form: Form
    ) -> None:
        self.base = base
        self.attached = attached
        self.head = head
        self.form = form

    def train(self, mode: bool = True) -> None:
        """Turns dropout of modules and head on or off; the backbone stays in eval mode."""
        self.attached.train(mode)
        self.head.train(mode)

    def logits(self, batch: AnyBatch) -> Tensor:
        """The answer, float32; of texts (B, n_outputs)."""
        return self.head.answer(self.base, self.attached, batch)

    def evaluate(self, rows: Rows) -> Outcome:
        """Predictions for a whole split in its order, and the loss, without dropout."""
        self.train(False)
        return self.form.evaluate(self, rows)

    def predict(self, rows: Rows) -> Any:
        """The predictions alone; of texts (n, n_outputs)."""
        return self.evaluate(rows).predictions

    def detach(self) -> None:
        """Leaves the backbone as it was before."""
        self.attached.detach()
