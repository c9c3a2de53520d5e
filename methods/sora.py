"""SoRA: low-rank deltas with a gate on each rank, which training drives to exact zeros."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import LinearDelta, Method, Placement
from peftnas.methods.layers import value_words
from peftnas.methods.linears import (
    alpha_setting,
    layers_setting,
    rank_setting,
    ranked_sites,
    scale_of,
    targets_setting,
    targets_words,
)
from peftnas.methods.lora import LoRAPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Number, held, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class SoRAPlacement(Placement):
    """One SoRA at one Linear: n_in, n_out, rank r, constant factor s, threshold of its gate."""

    kind: ClassVar[str] = "sora"
    n_in: int
    n_out: int
    rank: int
    scale: float
    threshold: float

    def count(self) -> int:
        """r * (n_in + n_out) + r."""
        return self.rank * (self.n_in + self.n_out) + self.rank

    def stored(self) -> int:
        """r * (n_in + n_out) at most: the gate folds into A, ranks whose gate is 0 go."""
        return self.rank * (self.n_in + self.n_out)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """The LoRA of its largest rank: the gate folds into A."""
        return (LoRAPlacement(self.site, self.n_in, self.n_out, self.rank, 1.0, None),)

    def build(self, generator: torch.Generator) -> SoRADelta:
        return SoRADelta(self, generator)


class SoRADelta(LinearDelta):
    """``s * B (g . A x)``; A Kaiming-uniform (a = sqrt 5), g (r) from N(0, 1), B 0: identity."""

    def __init__(self, placement: SoRAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        a = torch.empty(placement.rank, placement.n_in)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.A = nn.Parameter(a)
        self.gate = nn.Parameter(torch.randn(placement.rank, generator=generator))
        self.B = nn.Parameter(torch.zeros(placement.n_out, placement.rank))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        inner = nn.functional.linear(x, self.A) * (self.placement.scale * self.gate)
        return nn.functional.linear(inner, self.B)

    def weight_delta(self) -> Tensor:
        """(n_out, n_in)."""
        return self.B @ (self.placement.scale * self.gate[:, None] * self.A)

    @torch.no_grad()
    def end_step(self, step: int, steps: int) -> None:
        """The proximal step: gates move towards 0 by the threshold, and stop there."""
        shrunk = nn.functional.softshrink(self.gate, self.placement.threshold)
        self.gate.copy_(shrunk)

    @property
    def kept(self) -> int:
        """Ranks whose gate is not 0."""
        return int(self.gate.count_nonzero())


@dataclass(frozen=True, kw_only=True)
class SoRA(Method):
    """SoRA: ``W x + s B (g . A x)``, s = alpha / rank; g shrinks to sparsity while it is trained.

    After each step of the optimiser every gate moves towards 0 by ``threshold`` (soft threshold),
    so that ranks fall away. g folds into A.

    Source: Ding et al. 2311.11696; its two released optimisers differ in whether the threshold is
    multiplied by the learning rate: here it is not.
    """

    kind: ClassVar[str] = "sora"
    formula: ClassVar[str] = "each target: rank * (n_in + n_out) + rank"
    source: ClassVar[str] = "Ding 2311.11696"

    rank: int | Domain[int] | ByLayer[int] = rank_setting(8, "largest rank r; 0 = absent")
    alpha: float | None | Domain[float | None] = alpha_setting()
    threshold: float | Domain[float] = setting(
        Number(0), default=1e-4, help="how far each step moves gates towards 0"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[SoRAPlacement]:
        threshold = float(held(self.threshold))
        alpha = held(self.alpha)
        for rank, site in ranked_sites(self, anatomy):
            scale = scale_of(alpha, rank)
            yield SoRAPlacement(site.address, site.n_in, site.n_out, rank, scale, threshold)

    def normal(self, anatomy: Anatomy) -> SoRA:
        """s = 1 is spelled by None."""
        return self.replace(alpha=None) if self.alpha == self.rank else self

    def words(self) -> str:
        """For example ``sora rank 8 threshold 0.0001 on query, value in layers 0-2``."""
        threshold = f" threshold {self.threshold:g}"
        return f"sora rank {value_words(self.rank)}{threshold}" + targets_words(self)
