"""State of a running forward pass, and how modules are called in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Remembers(Protocol):
    """Keeps something of each sequence from one step of a generation to the next."""

    def reorder(self, rows: Tensor) -> None:
        """``rows`` (B,): number of the sequence that stands in each place from now on."""


@dataclass
class Mode:
    """How the attached modules run, the same for all stacks.

    Attributes:
        dropout: probability of dropout on what deltas read, in training.
        training: whether the attached modules are in training mode.
    """

    dropout: float = 0.0
    training: bool = True


@dataclass
class Call:
    """State of the running forward pass of one stack, shared by its ports.

    Attributes:
        mode: how the modules run.
        tokens: bool mask (B, T) of real tokens, prompts included; ``None`` when all are real.
        batch: number of sequences B; ``None`` before the first pass.
        past: tokens before these that lie in a cache: more than 0 in the steps of a generation.
        gates: those that remember what they read before.
    """

    mode: Mode = field(default_factory=Mode)
    tokens: Tensor | None = None
    batch: int | None = None
    past: int = 0
    gates: list[Remembers] = field(default_factory=list)

    def watch(self, cache: Any) -> None:
        """Follow a cache when it reorders its sequences (beams of a search)."""
        if not self.gates or cache is None or getattr(cache, "peftnas_watched", False):
            return
        cache.peftnas_watched, former = True, cache.reorder_cache

        def reorder_cache(rows: Tensor) -> None:
            former(rows)
            for gate in self.gates:
                gate.reorder(rows)

        cache.reorder_cache = reorder_cache

    def drop(self, x: Tensor) -> Tensor:
        """``x`` after dropout."""
        if self.mode.dropout == 0.0:
            return x
        return nn.functional.dropout(x, self.mode.dropout, self.mode.training)

    def tokens_of(self, x: Tensor) -> Tensor | None:
        """The mask of what ``x`` (B, T, n) holds; none of another length (a pooled text)."""
        if self.tokens is None or self.tokens.shape != x.shape[:2]:
            return None
        return self.tokens

    def by_sequence(self, x: Tensor) -> Tensor:
        """(B, T, n), where a backbone hands down all tokens in one row after another (opt)."""
        if x.dim() != 2 or self.batch is None:
            return x
        return x.view(self.batch, -1, x.shape[-1])


def compute(module: nn.Module, like: Tensor, *args: Any) -> Any:
    """``module(*args)``, in the dtype of ``like``.

    Modules on a 16-bit backbone keep 32-bit parameters: small steps of an optimiser would be
    lost in 16 bits. Under autocast what it reads may have another dtype than what it adds to.
    """
    args = tuple(_as_dtype(arg, like.dtype) for arg in args)
    first = next(module.parameters(), None)
    if first is None or first.dtype == like.dtype:
        return module(*args)
    cast = {name: parameter.to(like.dtype) for name, parameter in module.named_parameters()}
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            cast[name] = buffer.to(like.dtype)
    return functional_call(module, cast, args)


def _as_dtype(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != dtype:
        return value.to(dtype)
    return value
