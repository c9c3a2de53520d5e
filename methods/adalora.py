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
from peftnas.methods.lora import LoRAPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Number, Rule, Whole, default_of, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

INIT_STD = 0.02
BETA = 0.85  # of both moving averages
EPSILON = 1e-5  # HF peft divides by rank + 1e-5
RANKS_OF = {"A": 1, "E": 1, "B": 0}
"""The tensors of a delta, and the dimension of each that is not the ranks."""


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

    def reaches(self, anatomy: Anatomy) -> Iterator[Placement]:
        """Where the budget leaves no choice of ranks, the LoRA of the target rank."""
        if self.rank != self.target_rank and len(self.sites) > 1:
            yield self
            return
        for site, (n_in, n_out) in zip(self.sites, self.sizes, strict=True):
            yield LoRAPlacement(site, n_in, n_out, self.target_rank, 1.0, None)

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


class Importance(nn.Module):
    """Moving averages of the sensitivity of each entry of a delta, and of its variation.

    Buffers such as ``A_mean`` and ``A_spread``: saved, so that a training can go on; not in the
    delta, which reads none of them.
    """

    def __init__(self, delta: AdaLoRADelta) -> None:
        super().__init__()
        for name in RANKS_OF:
            for average in ("mean", "spread"):
                like = torch.zeros_like(delta.get_parameter(name), requires_grad=False)
                self.register_buffer(f"{name}_{average}", like)

    @torch.no_grad()
    def watch(self, delta: AdaLoRADelta) -> None:
        """Take in the sensitivity |w dL/dw| of a step."""
        for name in RANKS_OF:
            parameter = delta.get_parameter(name)
            if parameter.grad is None:
                continue
            mean, spread = self.get_buffer(f"{name}_mean"), self.get_buffer(f"{name}_spread")
            sensitivity = (parameter * parameter.grad).abs()
            mean.mul_(BETA).add_(sensitivity, alpha=1 - BETA)
            spread.mul_(BETA).add_((sensitivity - mean).abs(), alpha=1 - BETA)

    def scores(self) -> Tensor:
        """Importance of each rank, (r,)."""
        parts = [
            (self.get_buffer(f"{name}_mean") * self.get_buffer(f"{name}_spread")).mean(dim)
            for name, dim in RANKS_OF.items()
        ]
        return torch.stack(parts).sum(0)


class AdaLoRABundle(Bundle):
    """The deltas, and which of all their ranks are taken away: ``taken`` (sites, r)."""

    def __init__(self, placement: AdaLoRAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.sites = placement.sites
        self.parts = nn.ModuleList(
            AdaLoRADelta(placement, *sizes, generator) for sizes in placement.sizes
        )
        self.importance = nn.ModuleList(Importance(part) for part in self._deltas())
        taken = torch.zeros(len(self.parts), placement.rank, dtype=torch.bool)
        self.register_buffer("taken", taken)

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
        if all(parameter.grad is None for parameter in self.parts.parameters()):
            raise RuntimeError(
                "AdaLoRA scores its ranks by the gradients of a step, and there are none; call "
                "end(step, steps) behind loss.backward() and before zero_grad()"
            )
        importance = [cast(Importance, one) for one in self.importance]
        for part, one in zip(self._deltas(), importance, strict=True):
            one.watch(part)
        taken = self.get_buffer("taken")
        surplus = taken.numel() - self.budget(step + 1, steps)
        settled = step + 1 > (1 - self.placement.cooldown) * steps
        if not settled or taken.sum() != surplus:
            scores = torch.stack([one.scores() for one in importance])
            lowest = scores.flatten().argsort(stable=True)[:surplus]
            taken.fill_(False).view(-1)[lowest] = True
        for part, gone in zip(self._deltas(), taken, strict=True):
            part.E[gone] = 0.0

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


def _growing(values: dict[str, Any]) -> str | None:
    if values["target_rank"] <= values["rank"] or not values["rank"]:
        return None
    return (
        f"target_rank must be at most rank {values['rank']}, got {values['target_rank']}; lower it"
    )


def _no_time(values: dict[str, Any]) -> str | None:
    warmup, cooldown = values["warmup"], values["cooldown"]
    if warmup + cooldown < 1:
        return None
    return (
        "warmup and cooldown must leave steps between them in which ranks are taken away, so "
        f"their sum must be below 1, got {warmup} and {cooldown}; lower one of them"
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
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(("rank", "target_rank"), _growing),
        Rule(("warmup", "cooldown"), _no_time),
    )

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
        """alpha = rank is spelled by None; when ranks are taken away matters where any are."""
        normal = self.replace(alpha=None) if self.alpha == self.rank else self
        if self.rank != self.target_rank:
            return normal
        usual = {name: default_of(AdaLoRA, name) for name in ("warmup", "cooldown")}
        return normal.replace(**usual)

    def words(self) -> str:
        """For example ``adalora rank 12 to 8 on query, value in layers 0-2``."""
        return f"adalora rank {self.rank} to {self.target_rank}" + targets_words(self)
