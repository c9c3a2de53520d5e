"""LoRA: low-rank deltas on linear layers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import TARGETS
from peftnas.methods.base import LinearDelta, Method, Placement
from peftnas.methods.gates import (
    GateSpec,
    GateTokens,
    gate_setting,
    gate_spec,
    gate_tokens_setting,
)
from peftnas.methods.layers import active_layers, place_words, value_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import (
    AnyOf,
    Layers,
    Number,
    OneOf,
    SomeOf,
    Whole,
    held,
    held_at,
    setting,
)
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class LoRAPlacement(Placement):
    """One LoRA at one Linear.

    Attributes:
        n_in: inputs of the Linear.
        n_out: outputs of the Linear.
        rank: r, at least 1.
        scale: s, the constant factor; 1 when gated.
        gate: its gate, or ``None``.
        b_rate: learning rate of B over that of the rest.
    """

    kind: ClassVar[str] = "lora"
    n_in: int
    n_out: int
    rank: int
    # s folds into B: another training, but the same functions
    scale: float = field(metadata={"function": False})
    gate: GateSpec | None
    b_rate: float = field(default=1.0, metadata={"function": False, "usual": 1.0})

    def count(self) -> int:
        """r * (n_in + n_out), and n_in + 1 for a gate."""
        return self.rank * (self.n_in + self.n_out) + (self.gate.count() if self.gate else 0)

    def build(self, generator: torch.Generator) -> LoRADelta:
        return LoRADelta(self, generator)

    def joins_by(self) -> str | None:
        return "rank" if self.gate is None else None

    def function(self) -> dict[str, Any]:
        """A rank beyond the matrix's own reaches no more functions."""
        return super().function() | {"rank": min(self.rank, self.n_in, self.n_out)}


class LoRADelta(LinearDelta):
    """``s * B A x``, A (r, n_in) Kaiming-uniform (a = sqrt 5), B (n_out, r) zero: starts at 0."""

    gate: nn.Module | None

    def __init__(self, placement: LoRAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.rates = {"B": placement.b_rate}
        a = torch.empty(placement.rank, placement.n_in)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.A = nn.Parameter(a)
        self.B = nn.Parameter(torch.zeros(placement.n_out, placement.rank))
        self.gate = placement.gate.build(generator) if placement.gate else None

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        inner = nn.functional.linear(x, self.A)
        if self.placement.scale != 1.0:
            inner = inner * self.placement.scale
        return nn.functional.linear(inner, self.B)

    def weight_delta(self) -> Tensor | None:
        """``s * B A``; ``None`` when gated."""
        return None if self.gate is not None else self.placement.scale * (self.B @ self.A)


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """LoRA: ``W x + s B A x`` with s = alpha / rank (rslora: alpha / sqrt(rank)).

    With a gate, G(x) takes the place of s, and alpha has no effect. A rank for each target is
    written as one LoRA a target: ``LoRA.by_target({"query": 8, "value": 2})``.

    Source: Hu et al. 2106.09685; rslora: Kalajdzievski 2312.03732; gate: Mao et al. 2110.07577;
    b_rate: Hayou et al. 2402.12354.
    """

    kind: ClassVar[str] = "lora"
    formula: ClassVar[str] = "each target: rank * (n_in + n_out) (+n_in+1 gate)"
    source: ClassVar[str] = "Hu 2106.09685; rslora Kalajdzievski 2312.03732; as in HF peft"

    rank: int | Domain[int] | ByLayer[int] = setting(
        Whole(0), default=8, by_layer=True, size=True, help="rank r of the delta; 0 = absent"
    )
    gate: str | None | Domain[str | None] = gate_setting()
    gate_tokens: GateTokens | Domain[GateTokens] = gate_tokens_setting()
    alpha: float | None | Domain[float | None] = setting(
        AnyOf(OneOf(None), Number(0, above=True)),
        default=None,
        when={"gate": (None,)},
        help="scale times rank; None: equal to the rank",
    )
    rslora: bool | Domain[bool] = setting(
        OneOf(False, True),
        default=False,
        when={"gate": (None,)},
        help="divide alpha by the square root of the rank",
    )
    b_rate: float | Domain[float] = setting(
        Number(0, above=True), default=1.0, help="learning rate of B over that of A (LoRA+)"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf(*TARGETS), default=("query", "value"), help="linears that it is added to"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[LoRAPlacement]:
        targets: tuple[str, ...] = held(self.targets)
        anatomy.check_targets(targets)
        gate, b_rate = held(self.gate), float(held(self.b_rate))
        tokens: GateTokens = held(self.gate_tokens)
        for layer in active_layers(self, anatomy):
            rank = held_at(self.rank, layer)
            scale = self._scale(rank) if rank else 1.0
            for _, site in anatomy.linears_of(layer, targets if rank else ()):
                spec = gate_spec(gate, site.n_in, tokens)
                yield LoRAPlacement(site.address, site.n_in, site.n_out, rank, scale, spec, b_rate)

    @classmethod
    def by_target(cls, ranks: Mapping[str, Any], **common: Any) -> tuple[Self, ...]:
        """One LoRA a target, each with a rank (or a domain of ranks) of its own.

        Args:
            ranks: rank by target.
            common: the other fields, the same in all.
        """
        return tuple(cls(rank=rank, targets=(name,), **common) for name, rank in ranks.items())

    def normal(self, anatomy: Anatomy) -> Self:
        """Where one rank holds everywhere, s is spelled by alpha alone, and s = 1 by None."""
        if isinstance(self.rank, ByLayer) or self.gate is not None:
            return self
        rank = held(self.rank)
        scale = self._scale(rank)
        if scale == 1.0:
            return self.replace(rslora=False, alpha=None)
        for rslora in (False, True):
            for alpha in _alphas(scale, _divisor(rank, rslora)):
                return self.replace(rslora=rslora, alpha=alpha)
        return self

    def spelled_otherwise(self) -> Iterator[Self]:
        """The same scale by other values of ``alpha``, with and without ``rslora``."""
        if isinstance(self.rank, ByLayer) or self.gate is not None or not self.rank:
            return
        rank = held(self.rank)
        for rslora in (False, True):
            for alpha in (None, *_alphas(self._scale(rank), _divisor(rank, rslora))):
                yield self.replace(rslora=rslora, alpha=alpha)

    def words(self) -> str:
        """For example ``lora rank 8 on query, value in layers 0-2``."""
        parts = [f"lora rank {value_words(self.rank)}"]
        if self.alpha is not None:
            parts.append(f"alpha {self.alpha:g}")
        if self.rslora:
            parts.append("rslora")
        if self.b_rate != 1:
            parts.append(f"b_rate {self.b_rate:g}")
        if self.gate is not None:
            parts.append("gated")
        return " ".join(parts) + f" on {', '.join(held(self.targets))}" + place_words(self.layers)

    def _scale(self, rank: int) -> float:
        if self.gate is not None:
            return 1.0
        alpha: float | None = held(self.alpha)
        divisor = _divisor(rank, held(self.rslora))
        return float((rank if alpha is None else alpha) / divisor)


def _divisor(rank: int, rslora: bool) -> float:
    return math.sqrt(rank) if rslora else rank


def _alphas(scale: float, divisor: float) -> list[float]:
    """Every alpha that gives exactly this scale, the one with the fewest digits first."""
    near = scale * divisor
    steps = [near, float(round(near))]
    for direction in (0.0, math.inf):
        step = near
        for _ in range(4):
            step = math.nextafter(step, direction)
            steps.append(step)
    exact = {alpha for alpha in steps if alpha > 0 and alpha / divisor == scale}
    return sorted(exact, key=lambda alpha: (len(repr(alpha)), alpha))
