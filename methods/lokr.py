"""LoKr: deltas that are a Kronecker product, with a low-rank second factor."""

from __future__ import annotations

import functools
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
from peftnas.methods.lora import LoRAPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, OneOf, Whole, held, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class LoKrPlacement(Placement):
    """One LoKr at one Linear.

    Attributes:
        outer: shape (a, c) of the first factor.
        inner: shape (b, e) of the second; a*b = n_out, c*e = n_in.
        rank: r of the second factor; ``None``: it is a full matrix.
        scale: s, the constant factor.
    """

    kind: ClassVar[str] = "lokr"
    outer: tuple[int, int]
    inner: tuple[int, int]
    rank: int | None
    scale: float = field(metadata={"function": False})

    def count(self) -> int:
        """a*c, and r * (b + e) or b*e."""
        (a, c), (b, e) = self.outer, self.inner
        return a * c + (b * e if self.rank is None else self.rank * (b + e))

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """With a single number as its first factor it is LoRA."""
        if self.outer != (1, 1):
            return (self,)
        n_out, n_in = self.inner
        rank = min(self.inner) if self.rank is None else self.rank
        return (LoRAPlacement(self.site, n_in, n_out, rank, 1.0, None),)

    def build(self, generator: torch.Generator) -> LoKrDelta:
        return LoKrDelta(self, generator)


class LoKrDelta(LinearDelta):
    """``s * (C kron D) x``, D = B A or full; C (a, c) starts at 0, the rest Kaiming-uniform."""

    def __init__(self, placement: LoKrPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        (b, e), rank = placement.inner, placement.rank
        shapes = [(b, e)] if rank is None else [(b, rank), (rank, e)]
        drawn = [torch.empty(shape) for shape in shapes]
        for matrix in drawn:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5), generator=generator)
        self.C = nn.Parameter(torch.zeros(placement.outer))
        self.D = nn.ParameterList(drawn)

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        # (C kron D) x is D X C^T with x as a matrix X: much less work than the full product
        shaped = x.view(*x.shape[:-1], self.placement.outer[1], self.placement.inner[1])
        for matrix in reversed(self.D):
            shaped = nn.functional.linear(shaped, matrix)
        mixed = torch.einsum("...cb,ac->...ab", shaped, self.C)
        return (self.placement.scale * mixed).flatten(-2)

    def weight_delta(self) -> Tensor:
        """(n_out, n_in)."""
        inner = self.D[0] if len(self.D) == 1 else self.D[0] @ self.D[1]
        return self.placement.scale * torch.kron(self.C, inner)


@dataclass(frozen=True, kw_only=True)
class LoKr(Method):
    """LoKr: ``W x + s (C kron (B A)) x``, s = alpha / rank.

    n_out = a*b and n_in = c*e with a, c the divisors nearest below the square roots, or
    ``factor`` where that divides. C is (a, c); the second factor is a full (b, e) matrix where
    ``rank >= max(b, e) / 2``.

    Source: LyCORIS, Yeh et al. 2309.14859; start and shapes as in HF peft.
    """

    kind: ClassVar[str] = "lokr"
    formula: ClassVar[str] = "each target: a*c + rank * (b + e), or a*c + b*e for large ranks"
    source: ClassVar[str] = "LyCORIS 2309.14859; as in HF peft"

    rank: int | Domain[int] | ByLayer[int] = rank_setting(
        8, "rank r of the second factor; 0 = absent"
    )
    alpha: float | None | Domain[float | None] = alpha_setting()
    factor: int | None | Domain[int | None] = setting(
        AnyOf(OneOf(None), Whole(1)),
        default=None,
        help="size of the first factor; None: nearest to the square root",
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[LoKrPlacement]:
        factor = held(self.factor)
        alpha = held(self.alpha)
        for rank, site in ranked_sites(self, anatomy):
            (a, b), (c, e) = split(site.n_out, factor), split(site.n_in, factor)
            low = None if rank >= max(b, e) / 2 else rank
            scale = scale_of(alpha, rank)
            yield LoKrPlacement(site.address, (a, c), (b, e), low, scale)

    def normal(self, anatomy: Anatomy) -> LoKr:
        """s = 1 is spelled by None."""
        return self.replace(alpha=None) if self.alpha == self.rank else self

    def words(self) -> str:
        """For example ``lokr rank 8 factor 4 on query, value in layers 0-2``."""
        alpha = "" if self.alpha is None else f" alpha {self.alpha:g}"
        factor = "" if self.factor is None else f" factor {self.factor}"
        return f"lokr rank {value_words(self.rank)}{alpha}{factor}" + targets_words(self)


@functools.cache
def split(size: int, factor: int | None) -> tuple[int, int]:
    """``size`` as a product: the first is ``factor`` where it divides, else the largest divisor
    up to it and up to the square root."""
    if factor is not None and size % factor == 0:
        return factor, size // factor
    highest = math.isqrt(size) if factor is None else min(math.isqrt(size), factor)
    first = next(divisor for divisor in range(highest, 0, -1) if size % divisor == 0)
    return first, size // first
