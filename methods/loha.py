"""LoHa: deltas that are the elementwise product of two low-rank matrices."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import held
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class LoHaPlacement(Placement):
    """One LoHa at one Linear: n_in, n_out of the Linear, rank r, constant factor s."""

    kind: ClassVar[str] = "loha"
    n_in: int
    n_out: int
    rank: int
    scale: float = field(metadata={"function": False})

    def count(self) -> int:
        """2r * (n_in + n_out)."""
        return 2 * self.rank * (self.n_in + self.n_out)

    def build(self, generator: torch.Generator) -> LoHaDelta:
        return LoHaDelta(self, generator)


class LoHaDelta(LinearDelta):
    """``s * ((B1 A1) . (B2 A2)) x``, Kaiming-uniform (a = sqrt 5) but A2, which starts at 0."""

    def __init__(self, placement: LoHaPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        n_in, n_out, rank = placement.n_in, placement.n_out, placement.rank
        drawn = [torch.empty(n_out, rank), torch.empty(rank, n_in), torch.empty(n_out, rank)]
        for matrix in drawn:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5), generator=generator)
        self.B1, self.A1, self.B2 = map(nn.Parameter, drawn)
        self.A2 = nn.Parameter(torch.zeros(rank, n_in))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        return nn.functional.linear(x, self.weight_delta())

    def weight_delta(self) -> Tensor:
        """(n_out, n_in)."""
        product = (self.B1 @ self.A1) * (self.B2 @ self.A2)
        return self.placement.scale * product


@dataclass(frozen=True, kw_only=True)
class LoHa(Method):
    """LoHa: ``W x + s ((B1 A1) . (B2 A2)) x``, s = alpha / rank; of rank up to rank^2.

    Source: FedPara, Hyeon-Woo et al. 2108.06098; LyCORIS 2309.14859; start as in HF peft.
    """

    kind: ClassVar[str] = "loha"
    formula: ClassVar[str] = "each target: 2 * rank * (n_in + n_out)"
    source: ClassVar[str] = "Hyeon-Woo 2108.06098, LyCORIS 2309.14859; as in HF peft"

    rank: int | Domain[int] | ByLayer[int] = rank_setting(4, "rank r of both products; 0 = absent")
    alpha: float | None | Domain[float | None] = alpha_setting()
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[LoHaPlacement]:
        alpha = held(self.alpha)
        for rank, site in ranked_sites(self, anatomy):
            scale = scale_of(alpha, rank)
            yield LoHaPlacement(site.address, site.n_in, site.n_out, rank, scale)

    def normal(self, anatomy: Anatomy) -> LoHa:
        """s = 1 is spelled by None."""
        return self.replace(alpha=None) if self.alpha == self.rank else self

    def words(self) -> str:
        """For example ``loha rank 4 on query, value in layers 0-2``."""
        alpha = "" if self.alpha is None else f" alpha {self.alpha:g}"
        return f"loha rank {value_words(self.rank)}{alpha}" + targets_words(self)
