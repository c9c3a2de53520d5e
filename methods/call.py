"""State of a running forward pass, and how modules are called in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


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
        prompts: where prompts stand among the tokens of this pass; ``None``: there are none.
        past: tokens before these that lie in a cache: more than 0 in the steps of a generation.
        rows: numbers of these sequences in the whole batch, where others share it; ``None``: all.
        whole: sequences of that whole batch.
        held: running sums of gates over the tokens in the cache, of the whole batch.
        sums: the same with the tokens of this pass.
    """

    mode: Mode = field(default_factory=Mode)
    tokens: Tensor | None = None
    batch: int | None = None
    prompts: slice | None = None
    past: int = 0
    rows: list[int] | None = None
    whole: int | None = None
    held: dict[int, Tensor] = field(default_factory=dict)
    sums: dict[int, Tensor] = field(default_factory=dict)

    def running(self, gate: int, new: Tensor) -> Tensor:
        """Running sums (B, T, n) of this pass, continued from the tokens in the cache.

        Args:
            gate: number of the gate.
            new: running sums over the tokens of this pass alone.
        Raises:
            RuntimeError: if the cache holds tokens that the gate has not read.
        """
        held, past = self.held.get(gate), self.past
        if past and (held is None or held.shape[1] < past):
            raise RuntimeError(
                f"a causal gate takes its mean over all tokens so far, got a cache of {past} that "
                "it has not read; begin the generation with this architecture attached"
            )
        before = None if held is None or not past else held[:, :past].to(new.device)
        rows = None if self.rows is None else torch.tensor(self.rows, device=new.device)
        if before is not None:
            new = new + (before if rows is None else before.index_select(0, rows))[:, -1:]
        kept = new
        if rows is not None:
            kept = new.new_zeros(self.whole or len(rows), *new.shape[1:]).index_copy(0, rows, new)
        self.sums[gate] = kept if before is None else torch.cat([before, kept], dim=1)
        return new

    def state(self) -> tuple[Any, ...]:
        """What a pass computes with, to be put back when a part of it is computed again."""
        return tuple(getattr(self, name) for name in _OF_A_PASS)

    def put_back(self, state: tuple[Any, ...]) -> None:
        """Undo changes since :meth:`state`."""
        for name, value in zip(_OF_A_PASS, state, strict=True):
            setattr(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """A copy of a model is in no pass."""
        return {"mode": self.mode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def text_of(self, x: Tensor) -> Tensor | None:
        """The mask of what ``x`` (B, T, n) holds, without prompts; ``None``: all is text."""
        tokens = self.tokens_of(x)
        if self.prompts is None:
            return tokens
        text = x.new_ones(x.shape[:2], dtype=torch.bool) if tokens is None else tokens.clone()
        text[:, self.prompts] = False
        return text

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


_OF_A_PASS = ("tokens", "batch", "prompts", "past", "rows", "whole", "held")


def gated(delta: nn.Module, like: Tensor, dropped: Tensor, x: Tensor, mask: Tensor | None) -> Any:
    """What a delta adds, times its gate, where it has one: the gate reads ``x`` before dropout."""
    added = compute(delta, like, dropped, mask)
    gate = getattr(delta, "gate", None)
    # the gate of SoRA is a vector inside the delta
    return added * compute(gate, like, x, mask) if isinstance(gate, nn.Module) else added


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
