"""DoRA: weights as magnitude and direction, the direction changed by a low-rank delta."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import Method, Placement, RenormedDelta
from peftnas.methods.layers import value_words
from peftnas.methods.linears import (
    alpha_setting,
    layers_setting,
    may_meet,
    rank_setting,
    ranked_sites,
    scale_of,
    targets_setting,
    targets_words,
)
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Configurable, held
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class DoRAPlacement(Placement):
    """One DoRA at one Linear: n_in, n_out of the Linear, rank r, constant factor s."""

    kind: ClassVar[str] = "dora"
    n_in: int
    n_out: int
    rank: int
    # s folds into B: another training, but the same functions
    scale: float = field(metadata={"function": False})

    def count(self) -> int:
        """r * (n_in + n_out) + n_out."""
        return self.rank * (self.n_in + self.n_out) + self.n_out

    def build(self, generator: torch.Generator) -> DoRADelta:
        return DoRADelta(self, generator)

    def function(self) -> dict[str, Any]:
        """A rank beyond the matrix's own reaches no more functions."""
        return super().function() | {"rank": min(self.rank, self.n_in, self.n_out)}


class DoRADelta(RenormedDelta):
    """``m / |V| * (V x)`` with V = W + s B A and |V| the norms of its rows.

    A (r, n_in) starts Kaiming-uniform (a = sqrt 5), B (n_out, r) at 0, m (n_out) at |W|: the
    identity. |V| is a constant for the gradient.
    """

    def __init__(self, placement: DoRAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        a = torch.empty(placement.rank, placement.n_in)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.A = nn.Parameter(a)
        self.B = nn.Parameter(torch.zeros(placement.n_out, placement.rank))
        self.magnitude = nn.Parameter(torch.ones(placement.n_out))

    def start(self, weight: Tensor) -> None:
        """m = |W|, for W (n_out, n_in)."""
        with torch.no_grad():
            self.magnitude.copy_(torch.linalg.vector_norm(weight.float(), dim=1))

    def factor(self, weight: Tensor) -> Tensor:
        """m / |W + s B A|, (n_out,) in float32."""
        with torch.no_grad():
            direction = weight.float() + self.placement.scale * (self.B.float() @ self.A.float())
            norm = torch.linalg.vector_norm(direction, dim=1)
        factor: Tensor = self.magnitude.float() / norm
        return factor

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> s B A x, (B, T, n_out), which the port multiplies by the factor."""
        inner = nn.functional.linear(x, self.A) * self.placement.scale
        return nn.functional.linear(inner, self.B)

    def weight_delta(self) -> Tensor:
        """``s * B A``."""
        return self.placement.scale * (self.B @ self.A)


@dataclass(frozen=True, kw_only=True)
class DoRA(Method):
    """DoRA: ``m * (V / |V|) x + b`` with V = W + s B A, s = alpha / rank.

    |V| is the norm of each row (one output unit); its gradient is not followed. The bias is not
    scaled. Dropout acts on what the delta reads, never on the base product. Other deltas at the
    same linear are added beside it, not normalised; what changes W itself is refused.

    Source: Liu et al. 2402.09353; as in HF peft.
    """

    kind: ClassVar[str] = "dora"
    formula: ClassVar[str] = "each target: rank * (n_in + n_out) + n_out"
    source: ClassVar[str] = "Liu 2402.09353; as in HF peft"
    changes_weight: ClassVar[bool] = True

    rank: int | Domain[int] | ByLayer[int] = rank_setting()
    alpha: float | None | Domain[float | None] = alpha_setting()
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[DoRAPlacement]:
        alpha = held(self.alpha)
        for rank, site in ranked_sites(self, anatomy):
            scale = scale_of(alpha, rank)
            yield DoRAPlacement(site.address, site.n_in, site.n_out, rank, scale)

    def clash(self, other: Configurable) -> str | None:
        if isinstance(other, Method) and other.changes_weight and may_meet(self, other):
            if isinstance(other, DoRA):
                return (
                    "DoRA normalises the frozen weight of a linear, got it twice at one; keep one "
                    "of them, or give them other targets or layers"
                )
            return (
                f"DoRA normalises the frozen weight of a linear, which {type(other).__name__} "
                "changes; keep one of them there"
            )
        return None

    def normal(self, anatomy: Anatomy) -> DoRA:
        """s = 1 is spelled by None."""
        return self.replace(alpha=None) if self.alpha == self.rank else self

    def words(self) -> str:
        """For example ``dora rank 8 on query, value in layers 0-2``."""
        alpha = "" if self.alpha is None else f" alpha {self.alpha:g}"
        return f"dora rank {value_words(self.rank)}{alpha}" + targets_words(self)
