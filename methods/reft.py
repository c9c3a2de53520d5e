"""ReFT: low-rank edits of what a layer gives, at the first and last tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from peftnas.methods.base import BlockDelta, Method, Placement
from peftnas.methods.layers import active_layers, place_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Layers, OneOf, Rule, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Form = Literal["loreft", "noreft", "direft"]


@dataclass(frozen=True)
class ReFTPlacement(Placement):
    """The edits of one layer.

    Attributes:
        width: width d of the residual stream.
        rank: r, at least 1.
        form: see :class:`ReFT`.
        first: p, edited positions at the start.
        last: q, edited positions at the end.
        tied: one unit for both groups of positions.
    """

    kind: ClassVar[str] = "reft"
    width: int
    rank: int
    # all three forms reach every edit M h + c whose M and c have r common directions: where R is
    # subtracted W makes up for it, and rows that are not orthonormal are a change of W and b
    form: Form = field(metadata={"function": False})
    first: int
    last: int
    tied: bool

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units: one for each group of positions, or one for both."""
        groups = [name for name, size in (("first", self.first), ("last", self.last)) if size]
        return ("both",) if self.tied and len(groups) == 2 else tuple(groups)

    def count(self) -> int:
        """2rd + r a unit."""
        return len(self.units) * (2 * self.rank * self.width + self.rank)

    def build(self, generator: torch.Generator) -> ReFTDelta:
        return ReFTDelta(self, generator)


class ReFTUnit(nn.Module):
    """``R^T (W h + b - R h)``, or ``R^T (W h + b)`` for direft.

    R (r, d) starts with random orthonormal rows; loreft keeps them so. W (r, d) starts
    Kaiming-uniform (a = sqrt 5), b at 0.

    Attributes:
        orthonormal: whether R is taken with its rows made orthonormal.
    """

    def __init__(self, placement: ReFTPlacement, generator: torch.Generator) -> None:
        super().__init__()
        width, rank = placement.width, placement.rank
        weight = torch.empty(rank, width)
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        self.W = nn.Parameter(weight)
        self.b = nn.Parameter(torch.zeros(rank))
        self.R = nn.Parameter(orthonormal_rows(torch.randn(rank, width, generator=generator)))
        self.orthonormal = placement.form == "loreft"
        self.subtracts = placement.form != "direft"

    def forward(self, h: Tensor) -> Tensor:
        """h (B, T, d) -> (B, T, d)."""
        rotation = orthonormal_rows(self.R) if self.orthonormal else self.R
        edit = nn.functional.linear(h, self.W, self.b)
        if self.subtracts:
            edit = edit - nn.functional.linear(h, rotation)
        return edit @ rotation


class ReFTDelta(BlockDelta):
    """The edits at the first p and the last q real tokens; where both meet, the last ones win."""

    def __init__(self, placement: ReFTPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        units = {name: ReFTUnit(placement, generator) for name in placement.units}
        self.units = nn.ModuleDict(units)

    def forward(self, h: Tensor, tokens: Tensor | None) -> Tensor:
        """h (B, T, d) -> delta (B, T, d)."""
        here = self.placement
        real = h.new_ones(h.shape[:2], dtype=torch.bool) if tokens is None else tokens
        number = real.long().cumsum(dim=1)  # 1 at the first real token
        last = real & (number > number[:, -1:] - here.last)
        first = real & (number <= here.first) & ~last
        if "both" in self.units:
            delta: Tensor = self.units["both"](h)
            return delta * (first | last).unsqueeze(-1)
        places = {"first": first, "last": last}
        return sum(
            (unit(h) * places[name].unsqueeze(-1) for name, unit in self.units.items()),
            start=torch.zeros_like(h),
        )


def _no_position(values: dict[str, Any]) -> str | None:
    if values["first"] or values["last"]:
        return None
    return "ReFT edits at least one position, got first=0 and last=0; raise one of them"


@dataclass(frozen=True, kw_only=True)
class ReFT(Method):
    """ReFT: ``h + R^T (W h + b - R h)`` on what a layer gives, at its first p and last q tokens.

    - "loreft": the rows of R are orthonormal;
    - "noreft": R is free;
    - "direft": ``h + R^T (W h + b)``, R free.

    Positions are those of real tokens. Both groups read the un-edited h; where they meet, the last
    positions have their edit alone. In a generation the prompt is edited, what is generated is
    not. Never the identity at the start, never mergeable.

    Source: Wu et al. 2404.03592; units and positions as in the library `adapters`.
    """

    kind: ClassVar[str] = "reft"
    formula: ClassVar[str] = "each layer: 2*rank*d + rank, twice where both groups have a unit"
    source: ClassVar[str] = "Wu 2404.03592; as in `adapters`"
    rules: ClassVar[tuple[Rule, ...]] = (Rule(("first", "last"), _no_position),)

    rank: int | Domain[int] = setting(
        Whole(0), default=4, size=True, help="rank r of an edit, at most d; 0 = absent"
    )
    form: Form | Domain[Any] = setting(
        OneOf("loreft", "noreft", "direft"), default="loreft", help="how an edit is computed"
    )
    first: int | Domain[int] = setting(Whole(0), default=1, help="edited tokens at the start")
    last: int | Domain[int] = setting(Whole(0), default=1, help="edited tokens at the end")
    tied: bool | Domain[bool] = setting(
        OneOf(False, True), default=False, help="one unit for both groups of tokens"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[ReFTPlacement]:
        rank = held(self.rank)
        for layer in active_layers(self, anatomy) if rank else ():
            width = anatomy.layers[layer].width
            if rank > width:  # there are no more orthonormal rows, and no further direction
                raise ValueError(
                    f"ReFT's rank must be at most the width {width} of layer {layer} of this "
                    f"{anatomy.model_type} backbone, got {rank}; lower it"
                )
            yield ReFTPlacement(
                f"layers[{layer}]",
                width,
                rank,
                held(self.form),
                held(self.first),
                held(self.last),
                held(self.tied) and bool(self.first) and bool(self.last),
            )

    def normal(self, anatomy: Anatomy) -> ReFT:
        """One group of positions alone has nothing to be tied to."""
        return self if self.first and self.last else self.replace(tied=False)

    def words(self) -> str:
        """For example ``loreft rank 4 at first 1, last 2 tied in layers 0-2``."""
        tied = " tied" if self.tied else ""
        places = f"first {self.first}, last {self.last}"
        return f"{self.form} rank {self.rank} at {places}{tied}" + place_words(self.layers)


def orthonormal_rows(matrix: Tensor) -> Tensor:
    """The (r, d) matrix with its rows made orthonormal one after another; r <= d."""
    q, r = torch.linalg.qr(matrix.float().T)
    # the sign that keeps rows that are orthonormal already
    rows: Tensor = (q * r.diagonal().sign()).T
    return rows.to(matrix.dtype)
