"""What some methods do around each training step, besides moving along the gradient.

A built module may have any of these methods; whoever trains calls them through
``AttachedModules.steps``: ``begin``, forward, backward of the loss plus ``penalty``, the step of
the optimiser, ``end``. Without these calls methods still train, as what they are without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from peftnas.methods.checks import check_seed


@runtime_checkable
class BeginsStep(Protocol):
    """Draws what a training step computes with.

    Attributes:
        drawn: what was drawn last; whoever computes a layer again puts it back.
    """

    drawn: Any

    def begin_step(self, step: int, steps: int, draw: int) -> None:
        """``step`` of ``steps``, 0-based; ``draw``: a seed of this step, the same for all."""


@runtime_checkable
class HasPenalty(Protocol):
    """Adds to the loss."""

    def penalty(self) -> Tensor:
        """A scalar."""


@runtime_checkable
class EndsStep(Protocol):
    """Changes its tensors after the optimiser has; their gradients are still there."""

    def end_step(self, step: int, steps: int) -> None:
        """``step`` of ``steps``, 0-based."""


@runtime_checkable
class Prunes(Protocol):
    """Chooses once, before training, which of its entries are trained.

    Attributes:
        unpruned: whether it has not chosen yet.
        has_scores: whether a backward pass since ``begin_pruning`` has left what it chooses by.
    """

    unpruned: bool
    has_scores: bool

    def begin_pruning(self) -> None:
        """Compute with all entries from now on."""

    def prune(self) -> None:
        """Choose by the gradient that a backward pass has left, and forget it."""


@runtime_checkable
class Disagrees(Protocol):
    """Computes at random in training, and wants two passes to agree (or does not)."""

    consistency: bool


class TrainingSteps:
    """The calls to all modules of an architecture."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        inner = [part for module in modules for part in module.modules()]
        self._begin = [part for part in inner if isinstance(part, BeginsStep)]
        self._penalties = [part for part in inner if isinstance(part, HasPenalty)]
        self._end = [part for part in inner if isinstance(part, EndsStep)]
        self._prune = [part for part in inner if isinstance(part, Prunes)]
        self._disagree = [part for part in inner if isinstance(part, Disagrees)]

    def begin(self, step: int, steps: int, seed: int = 0) -> None:
        """A training step begins.

        Args:
            step: its number, 0-based.
            steps: of the whole training.
            seed: of what modules draw, from 0 on; together with ``step`` it fixes their draws.
        Raises:
            ValueError: if the step is not one of the steps, or the seed is no seed.
        """
        _check_step(step, steps)
        check_seed(seed)
        if self._begin:
            digest = hashlib.sha256(f"{seed}|{step}".encode()).digest()
            for module in self._begin:
                module.begin_step(step, steps, int.from_bytes(digest[:7], "big"))

    def penalty(self) -> Tensor | None:
        """What modules add to the loss of a step; ``None``: nothing."""
        terms = [module.penalty() for module in self._penalties]
        return torch.stack(terms).sum() if terms else None

    def end(self, step: int, steps: int) -> None:
        """The optimiser has moved, gradients are still there; as :meth:`begin`.

        Raises:
            RuntimeError: if AdaLoRA, which scores ranks by the gradients, finds none.
        """
        _check_step(step, steps)
        for module in self._end:
            module.end_step(step, steps)

    @property
    def wants_two_passes(self) -> bool:
        """Whether two passes over one batch, which draw anew, should be made to agree."""
        return any(module.consistency for module in self._disagree)

    @property
    def needs_pruning(self) -> bool:
        """Whether modules are to be pruned before training.

        Then: :meth:`begin_pruning`, one forward and backward pass, :meth:`prune`.
        """
        return any(module.unpruned for module in self._prune)

    def begin_pruning(self) -> None:
        """Modules that are to be pruned compute with all their entries from now on."""
        for module in self._prune:
            module.begin_pruning()

    def prune(self) -> None:
        """They choose what is trained, by the gradients of a backward pass; again: no effect.

        Raises:
            RuntimeError: if there is something to choose, and no gradient to choose by.
        """
        left = [module for module in self._prune if module.unpruned]
        if left and not any(module.has_scores for module in left):
            raise RuntimeError(
                "prune chooses by the gradient of a backward pass, and no module has one; call "
                "begin_pruning(), then loss.backward() of one batch, then prune()"
            )
        for module in self._prune:
            module.prune()


def _check_step(step: int, steps: int) -> None:
    """Raise ``ValueError`` unless a step is one of the steps."""
    for name, value in (("step", step), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, got {value!r}; count from 0")
    if not 0 <= step < steps:
        raise ValueError(
            f"step must be below the number of steps, got step {step} of {steps} steps; count "
            "from 0, and give the number of steps of the whole training"
        )
