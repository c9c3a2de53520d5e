"""Ports: what hooks do at a Linear, a norm and a sublayer of the backbone.

They compose by one fixed order (methods.md section 1). At a Linear: scaled input, base product,
plus biases and deltas, scaled output. At a sublayer: every delta reads what it would read alone,
and all are added to one residual. Ports hold modules and the state of the running call; hooks are
their bound methods, so a port can be copied and pickled with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.func import functional_call

from peftnas.methods.anatomy import SublayerSite
from peftnas.methods.base import BiasDelta, LinearDelta, Rescale, SublayerDelta

T = TypeVar("T")


@dataclass
class Call:
    """State of the running forward pass, shared by the ports of one attached architecture.

    Attributes:
        tokens: bool mask (B, T) of real tokens, prompts included; ``None`` when all are real.
        dropout: probability of dropout on what deltas read, in training.
        training: whether the attached modules are in training mode.
    """

    tokens: Tensor | None = None
    dropout: float = 0.0
    training: bool = True

    def drop(self, x: Tensor) -> Tensor:
        """``x`` after dropout."""
        if self.dropout == 0.0:
            return x
        return nn.functional.dropout(x, self.dropout, self.training)


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
    """All that acts at one Linear."""

    def __init__(self, linear: nn.Linear, call: Call) -> None:
        self.linear = linear
        self.call = call
        self.deltas: list[LinearDelta] = []
        self.biases: list[BiasDelta] = []
        self.scales_in: list[Rescale] = []
        self.scales_out: list[Rescale] = []

    def add(self, module: nn.Module) -> None:
        """Take in a module of one of the roles that act at a Linear."""
        if isinstance(module, LinearDelta):
            self.deltas.append(module)
        elif isinstance(module, BiasDelta):
            self.biases.append(module)
        elif isinstance(module, Rescale):
            (self.scales_in if module.side == "input" else self.scales_out).append(module)
        else:
            raise TypeError(f"a {type(module).__name__} does not act at a Linear")

    def scale_input(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Forward pre-hook."""
        x = args[0]
        for scale in self.scales_in:
            x = x * value_for(scale, x)
        return (x, *args[1:])

    def change_output(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Forward hook; ``args`` are already scaled."""
        for bias in self.biases:
            out = out + value_for(bias, out)
        if self.deltas:
            x = self.call.drop(args[0])
            for delta in self.deltas:
                out = out + compute(delta, out, x, self.call.tokens)
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
        self._residual = args[tap.index] if tap.index < len(args) else kwargs[tap.name]

    def keep_normed(self, module: nn.Module, args: Any, out: Tensor) -> None:
        """Forward hook at the pre-norm."""
        self._normed = out

    def add_before_norm(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Forward hook at the exit of F: h becomes h + sum of deltas."""
        h: Tensor = out[0] if isinstance(out, tuple) else out
        total = h
        for delta in self.before:
            z = self.call.drop(self._input(delta.reads, h))
            total = total + compute(delta, h, z, self.call.tokens)
        if self.after:
            self._output = h
        else:
            self._forget()
        return (total, *out[1:]) if isinstance(out, tuple) else total

    def add_after_norm(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook at the post-norm, for deltas that read the stream after it."""
        alone = out
        if self.before:
            assert self._output is not None and self._residual is not None
            alone = self.norm.apply(self._output + self._residual)
        self._forget()
        for delta in self.after:
            out = out + compute(delta, out, self.call.drop(alone), self.call.tokens)
        return out

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
