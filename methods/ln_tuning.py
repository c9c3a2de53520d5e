"""LN-tuning: trains weights and biases of norms, as deltas on the frozen ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from peftnas.methods.base import Method, NormDelta, Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.places import (
    INNER_NORMS,
    NORMS,
    OUTER_NORMS,
    check_stack,
    names_there,
    normal_stack,
    places,
    places_there,
    stack_setting,
)
from peftnas.methods.sites import NormSite
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Layers, OneOf, SomeOf, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

TARGETS = NORMS + INNER_NORMS + OUTER_NORMS


@dataclass(frozen=True)
class LNTuningPlacement(Placement):
    """The deltas of one norm: its width, and which of ``weight`` and ``bias`` are trained."""

    kind: ClassVar[str] = "ln_tuning"
    width: int
    parts: tuple[str, ...]

    def count(self) -> int:
        """The width, once for each trained part."""
        return self.width * len(self.parts)

    def reaches(self, anatomy: Anatomy) -> Iterator[Placement]:
        """Its weight and its bias apart; the bias is that of BitFit."""
        if "weight" in self.parts:
            yield dataclasses.replace(self, parts=("weight",))
        if "bias" in self.parts:
            yield BitFitPlacement(self.site, self.width)

    def joins_by(self) -> str | None:
        return ""

    def build(self, generator: torch.Generator) -> LNDelta:
        return LNDelta(self)


class LNDelta(NormDelta):
    """Deltas of weight and bias, zero at the start."""

    def __init__(self, placement: LNTuningPlacement) -> None:
        super().__init__()
        self.placement = placement
        for name in ("weight", "bias"):
            value = nn.Parameter(torch.zeros(placement.width))
            self.register_parameter(name, value if name in placement.parts else None)


@dataclass(frozen=True, kw_only=True)
class LNTuning(Method):
    """LN-tuning: ``(w + delta) * normalised(x) + b + delta``, for norms in and outside layers.

    Norms without a bias (RMSNorm) have their weight trained alone. ``layers`` restricts the norms
    inside layers; those outside (of the embeddings, the final one) are chosen by ``targets``, and
    by ``stack`` where there are several stacks.

    Source: Qi et al. 2211.08682; Zhao et al. 2312.11420; weights alone: Hu et al. 2206.07382.
    """

    kind: ClassVar[str] = "ln_tuning"
    formula: ClassVar[str] = "each norm: width, twice with a bias"
    source: ClassVar[str] = "Qi 2211.08682, Zhao 2312.11420; as in HF peft"

    targets: tuple[str, ...] | None | Domain[tuple[str, ...] | None] = setting(
        AnyOf(OneOf(None), SomeOf(*TARGETS)), default=None, help="norms; None: all that it has"
    )
    parts: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf("weight", "bias"), default=("weight", "bias"), help="what of them is trained"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )
    stack: str | None | Domain[str | None] = stack_setting()

    def place(self, anatomy: Anatomy) -> Iterator[LNTuningPlacement]:
        layers = active_layers(self, anatomy)
        named: tuple[str, ...] = held(self.parts)
        for target in self._targets(anatomy):
            for site in places(anatomy, layers, target, held(self.stack)):
                assert isinstance(site, NormSite)
                parts = tuple(p for p in ("weight", "bias") if p in named)
                parts = parts if site.bias else tuple(p for p in parts if p != "bias")
                if parts:
                    yield LNTuningPlacement(site.address, site.width, parts)

    def normal(self, anatomy: Anatomy) -> LNTuning:
        named, layers = self._targets(anatomy), held(self.layers)
        if not active_layers(self, anatomy):
            named = tuple(target for target in named if target in OUTER_NORMS)
        if all(target in OUTER_NORMS for target in named):
            layers = None
        every = self._every(anatomy)
        return normal_stack(
            self.replace(targets=None if named == every else named, layers=layers), named, anatomy
        )

    def _targets(self, anatomy: Anatomy) -> tuple[str, ...]:
        named: tuple[str, ...] | None = held(self.targets)
        every = self._every(anatomy)
        if not every:
            raise ValueError(
                f"LNTuning needs a norm with weights, this {anatomy.model_type} backbone has "
                "none; leave LNTuning out"
            )
        check_stack(self, anatomy)
        if named is None:
            return every
        return places_there(anatomy, named, TARGETS, "LNTuning")

    def _every(self, anatomy: Anatomy) -> tuple[str, ...]:
        return anatomy.known(names_there, TARGETS)

    def words(self) -> str:
        """For example ``ln_tuning of weight on ffn_norm in layers 0-2``."""
        named: tuple[str, ...] | None = held(self.targets)
        parts = "" if len(held(self.parts)) == 2 else f" of {', '.join(held(self.parts))}"
        of_stack = "" if self.stack is None else f" of the {self.stack}"
        what = ", ".join(named or ("all norms",))
        return f"ln_tuning{parts} on {what}{of_stack}" + place_words(self.layers)
