"""DyLoRA: one low-rank delta trained for a whole range of ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import LinearDelta, Method, Placement
from peftnas.methods.linears import layers_setting, sites_of, targets_setting, targets_words
from peftnas.methods.lora import LoRAPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Number, OneOf, Rule, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class DyLoRAPlacement(Placement):
    """One DyLoRA at one Linear.

    Attributes:
        n_in: inputs of the Linear.
        n_out: outputs of the Linear.
        rank: largest rank.
        used: rank used in evaluation and kept.
        alpha: its delta at rank b is scaled by alpha / b; ``None``: by 1.
        frozen: a step moves only the last of its b ranks.
    """

    kind: ClassVar[str] = "dylora"
    n_in: int
    n_out: int
    rank: int
    used: int
    alpha: float | None
    frozen: bool

    def count(self) -> int:
        """rank * (n_in + n_out)."""
        return self.rank * (self.n_in + self.n_out)

    def stored(self) -> int:
        """used * (n_in + n_out)."""
        return self.used * (self.n_in + self.n_out)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """The LoRA of the used rank."""
        return (LoRAPlacement(self.site, self.n_in, self.n_out, self.used, 1.0, None),)

    def build(self, generator: torch.Generator) -> DyLoRADelta:
        return DyLoRADelta(self, generator)


class DyLoRADelta(LinearDelta):
    """``alpha / b * B[:, :b] A[:b] x``; A Kaiming-uniform (a = sqrt 5), B 0: the identity.

    Attributes:
        current: rank b of the running step; in evaluation the used rank takes its place.
    """

    def __init__(self, placement: DyLoRAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        a = torch.empty(placement.rank, placement.n_in)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        self.A = nn.Parameter(a)
        self.B = nn.Parameter(torch.zeros(placement.n_out, placement.rank))
        self.drawn = placement.rank

    def begin_step(self, step: int, steps: int, draw: int) -> None:
        """Draw b, uniformly from 1 to the largest rank; the same in all modules of a step."""
        generator = torch.Generator().manual_seed(draw)
        part = float(torch.rand((), generator=generator, dtype=torch.float64))
        self.drawn = 1 + int(part * self.placement.rank)

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        b = self.drawn if self.training else self.placement.used
        a, up = self.A[:b], self.B[:, :b]
        if self.training and self.placement.frozen:
            a = torch.cat([a[:-1].detach(), a[-1:]])
            up = torch.cat([up[:, :-1].detach(), up[:, -1:]], dim=1)
        inner = nn.functional.linear(x, a) * self._scale(b)
        return nn.functional.linear(inner, up)

    def weight_delta(self) -> Tensor:
        """At the used rank, (n_out, n_in)."""
        b = self.placement.used
        return self._scale(b) * (self.B[:, :b] @ self.A[:b])

    def _scale(self, b: int) -> float:
        return 1.0 if self.placement.alpha is None else self.placement.alpha / b


def _unreachable(values: dict[str, Any]) -> str | None:
    rank, used = values["rank"], values["used"]
    if used is None or used <= rank or not rank:
        return None
    return f"used must be at most the largest rank {rank}, got {used}; lower it"


@dataclass(frozen=True, kw_only=True)
class DyLoRA(Method):
    """DyLoRA: LoRA whose first b ranks work alone, for every b up to ``rank``.

    Each training step draws one b for all modules and computes with A[:b] and B[:, :b], scaled by
    alpha / b. By default only rank b learns in it (``frozen``); else all b do. Ranks that a step
    leaves out have zero gradients, though Adam's momentum still moves them. Merging and evaluation
    take the first ``used`` ranks.

    Source: Valipour et al. 2210.07558, with a uniform distribution of b.
    """

    kind: ClassVar[str] = "dylora"
    formula: ClassVar[str] = "each target: rank * (n_in + n_out); stored: used * (n_in + n_out)"
    source: ClassVar[str] = "Valipour 2210.07558"
    rules: ClassVar[tuple[Rule, ...]] = (Rule(("rank", "used"), _unreachable),)

    rank: int | Domain[int] = setting(
        Whole(0), default=8, size=True, help="largest rank; 0 = absent"
    )
    used: int | None | Domain[int | None] = setting(
        AnyOf(OneOf(None), Whole(1)),
        default=None,
        help="rank used after training; None: the largest",
    )
    alpha: float | None | Domain[float | None] = setting(
        AnyOf(OneOf(None), Number(0, above=True)),
        default=None,
        help="scale times the rank b of a step; None: scale 1",
    )
    frozen: bool | Domain[bool] = setting(
        OneOf(False, True), default=True, help="a step moves only the last of its ranks"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[DyLoRAPlacement]:
        rank, alpha = held(self.rank), held(self.alpha)
        used = held(self.used) or rank
        for _, site in sites_of(self, anatomy) if rank else ():
            yield DyLoRAPlacement(
                site.address,
                site.n_in,
                site.n_out,
                rank,
                used,
                None if alpha is None else float(alpha),
                held(self.frozen),
            )

    def normal(self, anatomy: Anatomy) -> DyLoRA:
        """The largest rank is used by default; a single rank is always the last."""
        normal = self.replace(used=None) if self.used == self.rank else self
        if self.rank != 1:
            return normal
        return normal.replace(frozen=True, alpha=None if self.alpha == 1 else self.alpha)

    def words(self) -> str:
        """For example ``dylora rank 8 used 4 on query, value in layers 0-2``."""
        used = "" if self.used is None else f" used {self.used}"
        return f"dylora rank {self.rank}{used}" + targets_words(self)
