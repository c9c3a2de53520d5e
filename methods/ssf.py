"""SSF: scales and shifts what linears, norms and the embedding of patches give."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import nn

from peftnas.methods.anatomy import TARGETS as LINEARS
from peftnas.methods.anatomy import no_such_targets
from peftnas.methods.base import Affine, Method, Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.ia3 import IA3Placement
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.ln_tuning import LNTuningPlacement
from peftnas.methods.places import INNER_NORMS, NORMS, OUTER_NORMS, places
from peftnas.methods.sites import LinearSite
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Layers, OneOf, SomeOf, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

INIT_STD = 0.02
OUTER = ("embeddings_patches", *OUTER_NORMS)
TARGETS = LINEARS + NORMS + INNER_NORMS + OUTER


@dataclass(frozen=True)
class SSFPlacement(Placement):
    """Scale and shift at one place: their width, and whether they start at random."""

    kind: ClassVar[str] = "ssf"
    width: int
    start: Literal["random", "identity"] = field(metadata={"function": False})

    def count(self) -> int:
        """Twice the width."""
        return 2 * self.width

    def build(self, generator: torch.Generator) -> SSFAffine:
        return SSFAffine(self, generator)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """At a linear (IA)3 of its output and a bias, at a norm its weight and bias."""
        bias = BitFitPlacement(self.site, self.width)
        if self.site in anatomy.linears:
            return IA3Placement(self.site, "output", self.width), bias
        if self.site in anatomy.norms:
            return LNTuningPlacement(self.site, self.width, ("weight",)), bias
        return (self,)

    def joins_by(self) -> str | None:
        return ""


class SSFAffine(Affine):
    """``gamma * y + beta``; drawn from N(1, 0.02) and N(0, 0.02), or 1 and 0."""

    def __init__(self, placement: SSFPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        scale, shift = torch.ones(placement.width), torch.zeros(placement.width)
        if placement.start == "random":
            scale += INIT_STD * torch.randn(placement.width, generator=generator)
            shift += INIT_STD * torch.randn(placement.width, generator=generator)
        self.scale = nn.Parameter(scale)
        self.shift = nn.Parameter(shift)


@dataclass(frozen=True, kw_only=True)
class SSF(Method):
    """SSF: ``gamma * y + beta`` of what every operation gives.

    By default at all linears and norms of the layers, at norms outside of them and at the
    embedding of patches of an image. Merges into the operation before it, except at a norm without
    a bias (RMSNorm), which has no room for beta.

    Source: Lian et al. 2210.08823, which starts at random; start "identity": 1 and 0.
    """

    kind: ClassVar[str] = "ssf"
    formula: ClassVar[str] = "each target: 2 * n_out of the linear, or of the norm's width"
    source: ClassVar[str] = "Lian 2210.08823; places as in its released code"

    targets: tuple[str, ...] | None | Domain[tuple[str, ...] | None] = setting(
        AnyOf(OneOf(None), SomeOf(*TARGETS)),
        default=None,
        help="linears and norms whose output it changes; None: all that the backbone has",
    )
    start: str | Domain[str] = setting(
        OneOf("random", "identity"), default="random", help="near the identity, or exactly there"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[SSFPlacement]:
        layers, start = active_layers(self, anatomy), held(self.start)
        for target in self._targets(anatomy):
            for address, width in _places(anatomy, layers, target):
                yield SSFPlacement(address, width, start)  # type: ignore[arg-type]

    def normal(self, anatomy: Anatomy) -> SSF:
        named, layers = self._targets(anatomy), held(self.layers)
        if not active_layers(self, anatomy):
            named = tuple(target for target in named if target in OUTER)
        if all(target in OUTER for target in named):
            layers = None
        return self.replace(
            targets=None if named == anatomy.known(_every) else named, layers=layers
        )

    def _targets(self, anatomy: Anatomy) -> tuple[str, ...]:
        named: tuple[str, ...] | None = held(self.targets)
        there = anatomy.known(_every)
        if not set(named or ()) <= set(there):
            raise ValueError(
                no_such_targets("SSF targets", named or (), there, anatomy.model_type)
            )
        return there if named is None else tuple(name for name in there if name in named)

    def words(self) -> str:
        """For example ``ssf on query, ffn_norm in layers 0-2``."""
        named: tuple[str, ...] | None = held(self.targets)
        return f"ssf on {', '.join(named or ('everything',))}" + place_words(self.layers)


def _every(anatomy: Anatomy) -> tuple[str, ...]:
    """The targets that a backbone has, in the declared order."""
    layers = tuple(range(anatomy.n_layers))
    return tuple(name for name in TARGETS if _places(anatomy, layers, name))


def _places(anatomy: Anatomy, layers: tuple[int, ...], target: str) -> list[tuple[str, int]]:
    """Address and width of everything called ``target``."""
    if target == "embeddings_patches":
        return [
            (f"{stack.prefix}embeddings.patches", stack.embedding_width)
            for stack in anatomy.stacks
            if stack.patches is not None
        ]
    return [
        (site.address, site.n_out if isinstance(site, LinearSite) else site.width)
        for site in places(anatomy, layers, target)
    ]
