"""VeRA: one frozen random low-rank pair for all linears, with a trained vector on either side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import Bundle, LinearDelta, Method, Placement
from peftnas.methods.linears import layers_setting, sites_of, targets_setting, targets_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Number, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class VeRAPlacement(Placement):
    """All linears of one VeRA, since they share the frozen matrices.

    Attributes:
        sites: the linears.
        sizes: (n_in, n_out) of each.
        rank: r of the frozen matrices.
        projection_seed: what they are drawn from.
        start: value of d at the start.
    """

    kind: ClassVar[str] = "vera"
    sites: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    rank: int
    projection_seed: int
    start: float = field(metadata={"function": False})

    def count(self) -> int:
        """n_out + r a linear."""
        return sum(n_out + self.rank for _, n_out in self.sizes)

    def build(self, generator: torch.Generator) -> VeRABundle:
        return VeRABundle(self)


class VeRABundle(Bundle):
    """The frozen A (r, largest n_in) and B (largest n_out, r), Kaiming-uniform (a = sqrt 5).

    They are drawn from the projection seed alone, so they need not be stored.
    """

    def __init__(self, placement: VeRAPlacement) -> None:
        super().__init__()
        self.placement = placement
        self.sites = placement.sites
        generator = torch.Generator().manual_seed(placement.projection_seed)
        n_in, n_out = (max(sizes) for sizes in zip(*placement.sizes, strict=True))
        frozen = {"A": torch.empty(placement.rank, n_in), "B": torch.empty(n_out, placement.rank)}
        for name, matrix in frozen.items():
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5), generator=generator)
            self.register_buffer(name, matrix, persistent=False)
        self.parts = nn.ModuleList(VeRADelta(self, *sizes) for sizes in placement.sizes)


class VeRADelta(LinearDelta):
    """``b . B (d . A x)`` at one linear; b (n_out) starts at 0, d (r) at a constant."""

    def __init__(self, bundle: VeRABundle, n_in: int, n_out: int) -> None:
        super().__init__()
        self._bundle = (bundle,)  # in a tuple: not a submodule, which would own A and B again
        self.n_in, self.n_out = n_in, n_out
        here = bundle.placement
        self.d = nn.Parameter(torch.full((here.rank,), here.start))
        self.b = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        a, b = self._frozen(x.dtype)
        inner = nn.functional.linear(x, a) * self.d
        return nn.functional.linear(inner, b) * self.b

    def weight_delta(self) -> Tensor:
        """(n_out, n_in)."""
        a, b = self._frozen(self.b.dtype)
        return (self.b[:, None] * b) @ (self.d[:, None] * a)

    def _frozen(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A (r, n_in) and B (n_out, r) of this linear: the first columns and rows."""
        bundle = self._bundle[0]
        a, b = bundle.get_buffer("A"), bundle.get_buffer("B")
        return a[:, : self.n_in].to(dtype), b[: self.n_out].to(dtype)


@dataclass(frozen=True, kw_only=True)
class VeRA(Method):
    """VeRA: ``W x + b . B (d . A x)``, b and d trained; A and B frozen, random, and shared.

    All linears take the first rows and columns of the same A and B. There is no factor
    alpha / rank, as in HF peft.

    Source: Kopiczko et al. 2310.11454.
    """

    kind: ClassVar[str] = "vera"
    formula: ClassVar[str] = "each target: n_out + rank"
    source: ClassVar[str] = "Kopiczko 2310.11454; as in HF peft"

    rank: int | Domain[int] = setting(
        Whole(0), default=256, size=True, help="rank r of the frozen matrices; 0 = absent"
    )
    start: float | Domain[float] = setting(
        Number(0, above=True), default=0.1, help="value of d at the start"
    )
    projection_seed: int | Domain[int] = setting(
        Whole(0), default=0, help="seed that the frozen matrices are drawn from"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[VeRAPlacement]:
        sites = [site for _, site in sites_of(self, anatomy)]
        rank: int = held(self.rank)
        if sites and rank:
            yield VeRAPlacement(
                "shared",
                tuple(site.address for site in sites),
                tuple((site.n_in, site.n_out) for site in sites),
                rank,
                held(self.projection_seed),
                float(held(self.start)),
            )

    def words(self) -> str:
        """For example ``vera rank 256 on query, value in layers 0-2``."""
        return f"vera rank {self.rank}" + targets_words(self)
