"""Adapters around a linear: parallel to it, behind it, or in front of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from peftnas.methods.base import InputDelta, LinearDelta, Method, Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.bottleneck import (
    ACTIVATIONS,
    bottleneck_count,
    random_linear,
    widths_of,
    zero_linear,
)
from peftnas.methods.layers import value_words
from peftnas.methods.linears import layers_setting, sites_of, targets_setting, targets_words
from peftnas.methods.lora import LoRAPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Number, OneOf, Sizes, Whole, held, held_at, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Insertion = Literal["parallel", "after", "before"]


@dataclass(frozen=True)
class LinearAdapterPlacement(Placement):
    """One adapter at one Linear.

    Attributes:
        n_in: what it reads.
        n_out: what it gives.
        inner: widths inside, one after another.
        activation: a key of ``ACTIVATIONS``.
        insertion: see :class:`LinearAdapter`.
        bias: whether its linears have biases.
        scale: s, the constant factor.
    """

    kind: ClassVar[str] = "linear_adapter"
    n_in: int
    n_out: int
    inner: tuple[int, ...]
    activation: str
    insertion: Insertion
    bias: bool
    scale: float = field(metadata={"function": False})

    def count(self) -> int:
        """n_in * r + r * n_out, with biases + r + n_out."""
        return bottleneck_count(self.n_in, self.inner, self.n_out, self.bias)

    def reaches(self, anatomy: Anatomy) -> Iterator[Placement]:
        """Rule 13: without a nonlinearity a low-rank delta, with its biases a bias."""
        if self.activation != "identity":
            yield self
            return
        rank, linear = min(*self.inner, self.n_in, self.n_out), anatomy.linears[self.site]
        # behind a linear: U D (W x + b), where D W is every matrix of its shape if W has full
        # column rank, and U D b is a part of the bias if the adapter has one of its own
        free = linear.n_in <= linear.n_out and (self.bias or not linear.bias)
        if self.insertion == "parallel" or (self.insertion == "after" and free):
            yield LoRAPlacement(self.site, linear.n_in, linear.n_out, rank, 1.0, None)
            if self.bias:
                yield BitFitPlacement(self.site, linear.n_out)
        else:
            yield dataclasses.replace(self, inner=(rank,))

    def function(self) -> dict[str, Any]:
        """Without a nonlinearity there are no more ranks than inputs or outputs."""
        found = super().function()
        if self.activation == "identity" and len(self.inner) == 1:
            found["inner"] = [min(*self.inner, self.n_in, self.n_out)]
        return found

    def joins_by(self) -> str | None:
        return "inner" if len(self.inner) == 1 else None

    def joined(self, other: Self) -> Self:
        return dataclasses.replace(self, inner=(self.inner[0] + other.inner[0],))

    def build(self, generator: torch.Generator) -> nn.Module:
        inside = Inside(self, generator)
        return BeforeLinear(inside) if self.insertion == "before" else AroundLinear(inside)


class Inside(nn.Module):
    """``s * U phi(... D z)``; U starts at 0, the other linears Kaiming-uniform (a = sqrt 5)."""

    def __init__(self, placement: LinearAdapterPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        widths = (placement.n_in, *placement.inner)
        self.down = nn.ModuleList(
            random_linear(a, b, placement.bias, generator)
            for a, b in zip(widths, widths[1:], strict=False)
        )
        self.up = zero_linear(widths[-1], placement.n_out, placement.bias)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, T, n_in) -> (B, T, n_out)."""
        for layer in self.down:
            z = ACTIVATIONS[self.placement.activation](layer(z))
        delta: Tensor = self.up(z) * self.placement.scale
        return delta


class AroundLinear(LinearDelta):
    """Added to what the linear gives; reads its input (parallel) or its product (after)."""

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.inside = inside
        self.reads = "output" if inside.placement.insertion == "after" else "input"

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) or (B, T, n_out) -> (B, T, n_out)."""
        delta: Tensor = self.inside(x)
        return delta


class BeforeLinear(InputDelta):
    """Added to what the linear reads."""

    def __init__(self, inside: Inside) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_in)."""
        delta: Tensor = self.inside(x)
        return delta


@dataclass(frozen=True, kw_only=True)
class LinearAdapter(Method):
    """Bottleneck adapter ``A(z) = s * U phi(D z)`` at a linear ``y = W x + b``.

    - "parallel": ``y + A(x)``;
    - "after": ``y + A(y)``, in series behind it;
    - "before": ``W (x + A(x)) + b``, in series in front of it. At ``output`` that is behind the
      attention itself (the site attention.self of NAS_for_PEFT), at ``down`` behind the activation
      of the FFN (its site intermediate).

    Source: Hu et al. 2304.01933 (LLM-Adapters, without biases, tanh); "before": the code of
    NAS_for_PEFT.
    """

    kind: ClassVar[str] = "linear_adapter"
    formula: ClassVar[str] = "each target: n_in*bottleneck + bottleneck*n_out (+biases)"
    source: ClassVar[str] = "Hu 2304.01933; sites before a linear as in NAS_for_PEFT"

    insertion: Insertion | Domain[Any] = setting(
        OneOf("parallel", "after", "before"),
        default="parallel",
        help="beside the linear, behind it, or in front of it",
    )
    bottleneck: int | tuple[int, ...] | Domain[Any] | ByLayer[Any] = setting(
        AnyOf(Whole(0), Sizes()),
        default=256,
        by_layer=True,
        size=True,
        help="width r inside, or several one after another; 0 = absent",
    )
    activation: str | Domain[str] = setting(
        OneOf(*ACTIVATIONS), default="tanh", help="nonlinearity inside"
    )
    bias: bool | Domain[bool] = setting(
        OneOf(False, True), default=False, help="biases in its linears"
    )
    scale: float | Domain[float] = setting(
        Number(0, above=True), default=1.0, help="s, the constant factor"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting(("output", "down"))
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[LinearAdapterPlacement]:
        insertion: Insertion = held(self.insertion)
        activation, bias, scale = held(self.activation), held(self.bias), float(held(self.scale))
        for layer, site in sites_of(self, anatomy):
            bottleneck: Any = self.bottleneck
            inner = widths_of(held_at(bottleneck, layer))
            n_in = site.n_out if insertion == "after" else site.n_in
            n_out = site.n_in if insertion == "before" else site.n_out
            if inner:
                yield LinearAdapterPlacement(
                    site.address,
                    n_in,
                    n_out,
                    inner,
                    activation,
                    insertion,
                    bias,
                    scale,
                )

    def normal(self, anatomy: Anatomy) -> LinearAdapter:
        """One width alone is written as a number."""
        if isinstance(self.bottleneck, tuple) and len(self.bottleneck) == 1:
            return self.replace(bottleneck=self.bottleneck[0])
        return self

    def words(self) -> str:
        """For example ``linear adapter parallel bottleneck 256 tanh on output in layers 0-2``."""
        bias = " with biases" if self.bias else ""
        scale = "" if self.scale == 1 else f" scale {self.scale:g}"
        return (
            f"linear adapter {self.insertion} bottleneck {value_words(self.bottleneck)} "
            f"{self.activation}{bias}{scale}" + targets_words(self)
        )
