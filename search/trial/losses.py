"""What a training step minimises: the task's loss, and what attached modules add to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from peftnas.search.trial.classifier import Classifier
    from peftnas.search.trial.forms.form import AnyBatch

LEFT_OUT = -100
"""Label of what has none: the loss leaves it out."""


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of a batch: cross-entropy of classes, squared error of a regression.

    Args:
        logits: (B, n_outputs) float32.
        labels: (B,) int64 class numbers, or float32 targets (then n_outputs is 1).
    """
    if labels.is_floating_point():
        return nn.functional.mse_loss(logits.squeeze(-1), labels)
    return nn.functional.cross_entropy(logits, labels)


def loss_of_some(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of those of a batch that have a label; 0 where none has.

    Args:
        logits: (N, classes) float32.
        labels: (N,) int64 class numbers, or ``LEFT_OUT``.
    """
    total = nn.functional.cross_entropy(logits, labels, ignore_index=LEFT_OUT, reduction="sum")
    return total / (labels != LEFT_OUT).sum().clamp(min=1)


def losses_of(
    classifier: Classifier, batch: AnyBatch, step: int, steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The task's loss of a batch, and what is minimised.

    Modules may add a penalty. Where they compute at random, a second pass over the batch with
    other draws is made to agree with the first.

    Args:
        classifier: whose modules have begun the step.
        batch: its examples.
        step: number of the step, 0-based.
        steps: of the whole training.
        seed: of what modules draw.
    """
    extra, form = classifier.attached.steps, classifier.form
    answer = classifier.logits(batch)
    loss = form.loss(answer, batch.labels)
    objective = loss
    penalty = extra.penalty()
    if penalty is not None:
        objective = objective + penalty
    if extra.wants_two_passes:
        extra.begin(step, steps, seed + 1)
        again = classifier.logits(batch)
        objective = objective + form.disagreement(answer, again)
    return loss, objective


def disagreement(one: Tensor, other: Tensor, *, classes: bool) -> Tensor:
    """Symmetric Kullback-Leibler divergence of two answers (B, n), half of the sum of both.

    Of numbers, which are no distributions: their mean squared difference.
    """
    if not classes:
        return nn.functional.mse_loss(one, other)
    logs = [answer.log_softmax(dim=-1) for answer in (one, other)]
    both = [
        nn.functional.kl_div(logs[i], logs[1 - i], log_target=True, reduction="batchmean")
        for i in (0, 1)
    ]
    return (both[0] + both[1]) / 2


def prune(classifier: Classifier, batch: AnyBatch) -> None:
    """Lets modules choose what of them is trained, by the gradient of one batch."""
    extra = classifier.attached.steps
    extra.begin_pruning()
    loss = classifier.form.loss(classifier.logits(batch), batch.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    extra.prune()
    for parameter in (*classifier.attached.parameters(), *classifier.head.parameters()):
        parameter.grad = None
