"""Cross-attention tuning: trains the whole cross-attention of a decoder, as deltas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.base import BiasDelta, LinearDelta, Method, Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.linears import layers_setting, sites_of
from peftnas.methods.ln_tuning import LNTuningPlacement
from peftnas.methods.lora import LoRAPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import OneOf, SomeOf, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

LINEARS = ("cross_query", "cross_key", "cross_value", "cross_output")


@dataclass(frozen=True)
class DensePlacement(Placement):
    """The delta of one whole weight (n_out, n_in)."""

    kind: ClassVar[str] = "dense"
    n_in: int
    n_out: int

    def count(self) -> int:
        """n_in * n_out."""
        return self.n_in * self.n_out

    def build(self, generator: torch.Generator) -> DenseDelta:
        return DenseDelta(self)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """LoRA of full rank."""
        rank = min(self.n_in, self.n_out)
        return (LoRAPlacement(self.site, self.n_in, self.n_out, rank, 1.0, None),)


class DenseDelta(LinearDelta):
    """A full matrix added to the weight, zero at the start."""

    reads = "rotated_input"

    def __init__(self, placement: DensePlacement) -> None:
        super().__init__()
        self.placement = placement
        self.delta = nn.Parameter(torch.zeros(placement.n_out, placement.n_in))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, n_in) -> (B, T, n_out)."""
        return nn.functional.linear(x, self.delta)

    def weight_delta(self) -> Tensor:
        """(n_out, n_in)."""
        return self.delta


@dataclass(frozen=True)
class DenseBiasPlacement(Placement):
    """The delta of the bias of such a linear; ``width``: its length."""

    kind: ClassVar[str] = "dense_bias"
    width: int

    def count(self) -> int:
        """The vector's length."""
        return self.width

    def build(self, generator: torch.Generator) -> DenseBias:
        return DenseBias(self)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """The delta of BitFit."""
        return (BitFitPlacement(self.site, self.width),)


class DenseBias(BiasDelta):
    """A vector added to a bias, zero at the start."""

    def __init__(self, placement: DenseBiasPlacement) -> None:
        super().__init__()
        self.placement = placement
        self.value = nn.Parameter(torch.zeros(placement.width))


@dataclass(frozen=True, kw_only=True)
class CrossAttentionTuning(Method):
    """Cross-attention tuning: weights, biases and norm of the cross-attention, as deltas.

    Source: Gheini et al. 2104.08771 (who train new embeddings for translation too).
    """

    kind: ClassVar[str] = "cross_attention_tuning"
    formula: ClassVar[str] = "each linear: n_in * n_out (+n_out bias); each norm: d (+d bias)"
    source: ClassVar[str] = "Gheini 2104.08771"
    changes_weight: ClassVar[bool] = True

    targets: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf(*LINEARS), default=LINEARS, help="linears of the cross-attention"
    )
    norm: bool | Domain[bool] = setting(
        OneOf(False, True), default=True, help="train the norm of the cross-attention too"
    )
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[Placement]:
        anatomy.check_sublayers(("cross_attention",))
        for _, site in sites_of(self, anatomy):
            yield DensePlacement(site.address, site.n_in, site.n_out)
            if site.bias:
                yield DenseBiasPlacement(site.address, site.n_out)
        for layer in active_layers(self, anatomy) if held(self.norm) else ():
            norm = anatomy.norms.get(f"layers[{layer}].cross_attention.norm")
            if norm is not None:
                parts = ("weight", "bias") if norm.bias else ("weight",)
                yield LNTuningPlacement(norm.address, norm.width, parts)

    def words(self) -> str:
        """For example ``cross-attention tuning of cross_value in layers 2-3``."""
        targets: tuple[str, ...] = held(self.targets)
        some = "" if targets == LINEARS else f" of {', '.join(targets)}"
        bare = "" if self.norm else " without norm"
        return f"cross-attention tuning{some}{bare}" + place_words(self.layers)
