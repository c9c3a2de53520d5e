"""Ports: what hooks do at a Linear, a norm and a sublayer of the backbone.

They compose by one fixed order (methods.md section 1). At a Linear: scaled input, base product,
plus biases and deltas, scaled output. At a sublayer: every delta reads what it would read alone,
and all are added to one residual. Ports hold modules and the state of the running call; hooks are
their bound methods, so a port can be copied and pickled with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from peftnas.methods.anatomy import LinearSite, SublayerSite
from peftnas.methods.base import (
    BiasDelta,
    BlockDelta,
    LinearDelta,
    Rescale,
    SublayerDelta,
)


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
    """

    mode: Mode = field(default_factory=Mode)
    tokens: Tensor | None = None
    batch: int | None = None
    past: int = 0

    def drop(self, x: Tensor) -> Tensor:
        """``x`` after dropout."""
        if self.mode.dropout == 0.0:
            return x
        return nn.functional.dropout(x, self.mode.dropout, self.mode.training)

    def tokens_of(self, x: Tensor) -> Tensor | None:
        """The mask of what ``x`` (B, T, n) holds; not of what is no text (deberta's distances)."""
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
    lost in 16 bits.
    """
    first = next(module.parameters(), None)
    if first is None or first.dtype == like.dtype:
        return module(*args)
    cast = {name: parameter.to(like.dtype) for name, parameter in module.named_parameters()}
    return functional_call(module, cast, args)


def value_for(module: BiasDelta | Rescale, like: Tensor) -> Tensor:
    """The vector of a module, in the dtype of ``like``."""
    return module.value.to(like.dtype)


class LinearPort:
    """All that acts at one linear; of a fused projection, at the outputs of that linear.

    Args:
        site: the linear.
        module: its module in the backbone.
        call: state of the stack whose tokens it reads.
    """

    def __init__(self, site: LinearSite, module: nn.Module, call: Call) -> None:
        self.site = site
        self.module = module
        self.call = call
        # numbers of its outputs, worked out once: a forward pass only looks them up
        self._rows: Tensor | None = None
        if site.rows is not None:
            self._rows = torch.tensor(site.rows.indices(site.n_out * site.rows.parts))
        self.deltas: list[LinearDelta] = []
        self.biases: list[BiasDelta] = []
        self.scales_in: list[Rescale] = []
        self.scales_out: list[Rescale] = []

    def add(self, module: nn.Module) -> None:
        """Take in a module of one of the roles that act at a linear."""
        if isinstance(module, LinearDelta):
            self.deltas.append(module)
        elif isinstance(module, BiasDelta):
            self.biases.append(module)
        elif isinstance(module, Rescale):
            (self.scales_in if module.side == "input" else self.scales_out).append(module)
        else:
            raise TypeError(f"a {type(module).__name__} does not act at a linear")
        if self.scales_in and self.site.rows is not None:
            raise ValueError(
                f"{self.site.address} shares its input with other linears of one projection, so "
                "its input cannot be scaled alone; scale its output"
            )

    def scale_input(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Forward pre-hook."""
        x = args[0]
        for scale in self.scales_in:
            x = x * value_for(scale, x)
        return (x, *args[1:])

    def change_output(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Forward hook; ``args`` are already scaled."""
        x, whole = self.call.by_sequence(args[0]), self.call.by_sequence(out)
        if self._rows is None:
            return self._changed(x, whole).view(out.shape)
        self._rows = rows = self._rows.to(out.device)
        part = self._changed(x, whole.index_select(-1, rows))
        return whole.index_copy(-1, rows, part).view(out.shape)

    def _changed(self, x: Tensor, out: Tensor) -> Tensor:
        for bias in self.biases:
            out = out + value_for(bias, out)
        if self.deltas:
            x = self.call.drop(x)
            for delta in self.deltas:
                out = out + compute(delta, out, x, self.call.tokens_of(x))
        for scale in self.scales_out:
            out = out * value_for(scale, out)
        return out


class NormPort:
    """Biases added to the output of one norm."""

    def __init__(self, norm: nn.Module) -> None:
        self.norm = norm
        self.biases: list[BiasDelta] = []

    def add(self, module: nn.Module) -> None:
        """Take in a bias."""
        if not isinstance(module, BiasDelta):
            raise TypeError(f"a {type(module).__name__} does not act at a norm")
        self.biases.append(module)

    def apply(self, x: Tensor) -> Tensor:
        """The norm of ``x`` with the biases and without any other hook."""
        return self.change_output(self.norm, (x,), self.norm.forward(x))

    def change_output(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook."""
        for bias in self.biases:
            out = out + value_for(bias, out)
        return out


class SublayerPort:
    """All deltas added to the residual stream after one sublayer F.

    Args:
        site: the sublayer.
        norm: port of its norm.
        deltas: modules in the order of the architecture (their sum does not depend on it).
        call: state of the running pass.
    """

    def __init__(
        self,
        site: SublayerSite,
        norm: NormPort,
        deltas: Sequence[SublayerDelta],
        call: Call,
    ) -> None:
        self.site = site
        self.norm = norm
        self.call = call
        after_norm = site.norm_order == "post"
        self.after = [delta for delta in deltas if delta.reads == "stream" and after_norm]
        self.before = [delta for delta in deltas if delta not in self.after]
        for delta in deltas:
            if delta.reads == "normed_sum" and not after_norm:
                raise ValueError(
                    f"{site.address} has no norm after the residual addition, so nothing can read "
                    "'normed_sum' there; read 'sum'"
                )
        self._residual: Tensor | None = None
        self._normed: Tensor | None = None
        self._output: Tensor | None = None

    def keep_residual(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Forward pre-hook at the tap of the residual."""
        tap = self.site.residual
        given = args[tap.index] if tap.index < len(args) else kwargs[tap.name]
        self._residual = self.call.by_sequence(given)

    def keep_normed(self, module: nn.Module, args: Any, out: Tensor) -> None:
        """Forward hook at the pre-norm."""
        self._normed = self.call.by_sequence(out)

    def add_before_norm(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Forward hook at the exit of F: h becomes h + sum of deltas."""
        given: Tensor = out[0] if isinstance(out, tuple) else out
        total = h = self.call.by_sequence(given)
        for delta in self.before:
            z = self.call.drop(self._input(delta.reads, h))
            total = total + compute(delta, h, z, self.call.tokens)
        if self.after:
            self._output = h
        else:
            self._forget()
        total = total.view(given.shape)
        return (total, *out[1:]) if isinstance(out, tuple) else total

    def add_after_norm(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook at the post-norm, for deltas that read the stream after it."""
        alone = out
        if self.before:
            assert self._output is not None and self._residual is not None
            alone = self.norm.apply(self._output + self._residual)
        self._forget()
        shape, out, alone = out.shape, self.call.by_sequence(out), self.call.by_sequence(alone)
        for delta in self.after:
            out = out + compute(delta, out, self.call.drop(alone), self.call.tokens)
        return out.view(shape)

    def _input(self, reads: str, h: Tensor) -> Tensor:
        if reads == "output":
            return h
        assert self._residual is not None
        if reads == "residual":
            return self._residual
        if reads == "normed_input":
            return self._residual if self._normed is None else self._normed
        total = h + self._residual
        return self.norm.apply(total) if reads == "normed_sum" else total

    def _forget(self) -> None:
        self._residual = self._normed = self._output = None


class BlockPort:
    """All deltas added to what one layer gives."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.deltas: list[BlockDelta] = []

    def change_output(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Forward hook at the layer."""
        if self.call.past:
            return out
        h: Tensor = out[0] if isinstance(out, tuple) else out
        total = h
        for delta in self.deltas:
            total = total + compute(delta, h, self.call.drop(h), self.call.tokens_of(h))
        return (total, *out[1:]) if isinstance(out, tuple) else total
