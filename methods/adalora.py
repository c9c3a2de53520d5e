"""AdaLoRA: low-rank deltas in the form of singular values, whose ranks one budget shares out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from peftnas.methods.base import Bundle, LinearDelta, Method, Placement
from peftnas.methods.linears import (
    alpha_setting,
    layers_setting,
    sites_of,
    targets_setting,
    targets_words,
)
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Number, Rule, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

INIT_STD = 0.02
BETA = 0.85  # of both moving averages
EPSILON = 1e-5  # HF peft divides by rank + 1e-5


@dataclass(frozen=True)
class AdaLoRAPlacement(Placement):
    """All linears of one AdaLoRA, since they share a budget of ranks.

    Attributes:
        sites: the linears.
        sizes: (n_in, n_out) of each.
        rank: r at the start.
        target_rank: mean rank at the end.
        alpha: the delta is scaled by alpha / (rank + 1e-5).
        orthogonality: weight of the penalty.
        warmup: part of the steps before ranks are taken away.
        cooldown: part of the steps after the last was.
    """

    kind: ClassVar[str] = "adalora"
    sites: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]
    rank: int
    target_rank: int
    alpha: float = field(metadata={"function": False})
    orthogonality: float = field(metadata={"function": False})
    warmup: float = field(metadata={"function": False})
    cooldown: float = field(metadata={"function": False})

    def count(self) -> int:
        """r * (n_in + n_out) + r a linear."""
        return sum(self.rank * (n_in + n_out + 1) for n_in, n_out in self.sizes)

    def stored(self) -> int:
        """The same at the target rank: which linears keep more of them only training tells."""
        return sum(self.target_rank * (n_in + n_out + 1) for n_in, n_out in self.sizes)

    def build(self, generator: torch.Generator) -> AdaLoRABundle:
        return AdaLoRABundle(self, generator)


class AdaLoRADelta(LinearDelta):
    """``s * B diag(E) A x``; A, B from N(0, 0.02), E 0: the identity."""

    def __init__(
        self, placement: AdaLoRAPlacement, n_in: int, n_out: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        rank = placement.rank
        self.scale = placement.alpha / (rank + EPSILON)
        self.A = nn.Parameter(INIT_STD * torch.randn(rank, n_in, generator=generator))
        self.E = nn.Parameter(torch.zeros(rank, 1))
        self.B = nn.Parameter(INIT_STD * torch.randn(n_out, rank, generator=generator))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        inner = nn.functional.linear(x, self.A) * (self.scale * self.E.squeeze(1))
        return nn.functional.linear(inner, self.B)

    def weight_delta(self) -> Tensor:
        """(n_out, n_in)."""
        return self.B @ (self.scale * self.E * self.A)


class AdaLoRABundle(Bundle):
    """The deltas, and the importance of each of their ranks while they are trained."""

    def __init__(self, placement: AdaLoRAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.sites = placement.sites
        self.parts = nn.ModuleList(
            AdaLoRADelta(placement, *sizes, generator) for sizes in placement.sizes
        )
        self._mean: dict[str, Tensor] = {}
        self._spread: dict[str, Tensor] = {}
        self._taken: Tensor | None = None

    def penalty(self) -> Tensor:
        """Distance of A A^T and B^T B from the identity, the mean over all matrices."""
        distances = []
        for part in self._deltas():
            for gram in (part.A @ part.A.T, part.B.T @ part.B):
                eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
                distances.append(torch.linalg.matrix_norm(gram - eye))
        return self.placement.orthogonality * torch.stack(distances).mean()

    @torch.no_grad()
    def end_step(self, step: int, steps: int) -> None:
        """Take away the least important ranks beyond the budget of this step (0-based)."""
        self._watch()
        settled = step + 1 > (1 - self.placement.cooldown) * steps
        if self._taken is None or not settled:
            scores = torch.stack([self._score(i, part) for i, part in enumerate(self._deltas())])
            surplus = scores.numel() - self.budget(step + 1, steps)
            lowest = scores.flatten().argsort(stable=True)[:surplus]
            self._taken = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
            self._taken[lowest] = True
        for part, taken in zip(self._deltas(), self._taken.view(len(self.parts), -1), strict=True):
            part.E[taken] = 0.0

    def budget(self, step: int, steps: int) -> int:
        """How many ranks all linears may have together after a step (1-based)."""
        here, sites = self.placement, len(self.placement.sites)
        first, last = here.rank * sites, here.target_rank * sites
        begin, end = here.warmup * steps, (1 - here.cooldown) * steps
        if step <= begin:
            return first
        if step >= end:
            return last
        left = 1 - (step - begin) / (end - begin)
        return int(last + (first - last) * left**3)

    def ranks(self) -> dict[str, int]:
        """Ranks that each linear has now, by its address."""
        counts = [int(part.E.count_nonzero()) for part in self._deltas()]
        return dict(zip(self.sites, counts, strict=True))

    def _deltas(self) -> list[AdaLoRADelta]:
        return [cast(AdaLoRADelta, part) for part in self.parts]

    def _watch(self) -> None:
        """Moving averages of the sensitivity |w dL/dw| and of its variation."""
        for name, parameter in self.parts.named_parameters():
            if parameter.grad is None:
                continue
            sensitivity = (parameter * parameter.grad).abs()
            mean = self._mean.setdefault(name, torch.zeros_like(sensitivity))
            spread = self._spread.setdefault(name, torch.zeros_like(sensitivity))
            mean.mul_(BETA).add_(sensitivity, alpha=1 - BETA)
            spread.mul_(BETA).add_((sensitivity - mean).abs(), alpha=1 - BETA)

    def _score(self, number: int, part: AdaLoRADelta) -> Tensor:
        """Importance of each rank of a linear, (r,)."""
        score = torch.zeros(len(part.E), device=part.E.device)
        for name, dim in (("A", 1), ("E", 1), ("B", 0)):
            key = f"{number}.{name}"
            if key in self._mean:
                score = score + (self._mean[key] * self._spread[key]).mean(dim)
        return score


def _growing(values: dict[str, Any]) -> str | None:
    if values["target_rank"] <= values["rank"] or not values["rank"]:
        return None
    return (
        f"target_rank must be at most rank {values['rank']}, got {values['target_rank']}; lower it"
    )


@dataclass(frozen=True, kw_only=True)
class AdaLoRA(Method):
    """AdaLoRA: ``W x + s B diag(E) A x``; ranks go where they matter while it is trained.

    s = alpha / (rank + 1e-5). A penalty keeps A and B near orthogonal; after each step the least
    important of all ranks (triples of an entry of E, a row of A, a column of B) are set to 0 until
    the budget of that step is met, which falls as a cube from ``rank`` to ``target_rank``.

    Source: Zhang et al. 2303.10512; start, scale and scores as in HF peft.
    """

    kind: ClassVar[str] = "adalora"
    formula: ClassVar[str] = "each target: rank * (n_in + n_out) + rank"
    source: ClassVar[str] = "Zhang 2303.10512; as in HF peft"
    rules: ClassVar[tuple[Rule, ...]] = (Rule(("rank", "target_rank"), _growing),)

    rank: int | Domain[int] = setting(
        Whole(0), default=12, size=True, help="rank r at the start; 0 = absent"
    )
    target_rank: int | Domain[int] = setting(
        Whole(1), default=8, help="mean rank of a linear at the end"
    )
    alpha: float | None | Domain[float | None] = alpha_setting()
    orthogonality: float | Domain[float] = setting(
        Number(0), default=0.5, help="weight of the penalty that keeps A and B orthogonal"
    )
    warmup: float | Domain[float] = setting(
        Number(0, 1), default=0.1, help="part of the steps before ranks are taken away"
    )
    cooldown: float | Domain[float] = setting(
        Number(0, 1), default=0.3, help="part of the steps after the last was taken away"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = targets_setting()
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[AdaLoRAPlacement]:
        rank, alpha = held(self.rank), held(self.alpha)
        sites = [site for _, site in sites_of(self, anatomy)] if rank else []
        if sites:
            yield AdaLoRAPlacement(
                "shared",
                tuple(site.address for site in sites),
                tuple((site.n_in, site.n_out) for site in sites),
                rank,
                held(self.target_rank),
                float(rank if alpha is None else alpha),
                float(held(self.orthogonality)),
                float(held(self.warmup)),
                float(held(self.cooldown)),
            )

    def normal(self, anatomy: Anatomy) -> AdaLoRA:
        """alpha = rank is spelled by None."""
        return self.replace(alpha=None) if self.alpha == self.rank else self

    def words(self) -> str:
        """For example ``adalora rank 12 to 8 on query, value in layers 0-2``."""
        return f"adalora rank {self.rank} to {self.target_rank}" + targets_words(self)
