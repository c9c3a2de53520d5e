"""LLaMA-Adapter: attention over trained prompts in each layer, behind a gate that starts shut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import sublayer_address
from peftnas.methods.base import CoreBranch, Method, Placement
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.linears import layers_setting
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import OneOf, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

GateForm = Literal["per_head", "per_layer"]


@dataclass(frozen=True)
class LlamaAdapterPlacement(Placement):
    """The branch of one layer.

    Attributes:
        layers: that one layer.
        sublayer: "attention".
        length: l, how many prompts.
        width: width d of the residual stream.
        heads: h, query heads.
        gate_form: one gate a head behind a tanh, or one for the layer.
    """

    kind: ClassVar[str] = "llama_adapter"
    layers: tuple[int, ...]
    sublayer: str
    length: int
    width: int
    heads: int
    gate_form: GateForm

    def count(self) -> int:
        """l*d, and h or 1 for the gate."""
        return self.length * self.width + (self.heads if self.gate_form == "per_head" else 1)

    def build(self, generator: torch.Generator) -> LlamaAdapterBranch:
        return LlamaAdapterBranch(self, generator)


class LlamaAdapterBranch(CoreBranch):
    """Prompts (l, d) drawn from N(0, 1); a gate of 0, which is the identity."""

    def __init__(self, placement: LlamaAdapterPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        shape = (placement.length, placement.width)
        self.prompts = nn.Parameter(torch.randn(shape, generator=generator))
        per_head = placement.gate_form == "per_head"
        self.gate = nn.Parameter(torch.zeros(placement.heads if per_head else 1))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Prompts (l, d) and what the branch of each head is multiplied with, (h,) or (1,)."""
        per_head = self.placement.gate_form == "per_head"
        return self.prompts, torch.tanh(self.gate) if per_head else self.gate


@dataclass(frozen=True, kw_only=True)
class LlamaAdapter(Method):
    """LLaMA-Adapter: ``softmax(q K / sqrt c) V + G * softmax(q K_a / sqrt c) V_a`` in attention.

    K_a, V_a are the frozen key and value projections of trained prompts (l, d), without positions
    and without what else is attached to these linears; the two softmaxes are separate. G is
    tanh(g), one a head (the authors' code), or one number a layer without tanh (HF peft). The
    branch is added before the output projection, so its bias is not added twice.

    Source: Zhang et al. 2303.16199, which takes the top 30 of 32 layers with l = 10.
    """

    kind: ClassVar[str] = "llama_adapter"
    formula: ClassVar[str] = "each layer: length * d + heads (or + 1)"
    source: ClassVar[str] = "Zhang 2303.16199; gate per_layer as in HF peft"

    length: int | Domain[int] = setting(
        Whole(0), default=10, size=True, help="prompts l a layer; 0 = absent"
    )
    gate_form: GateForm | Domain[Any] = setting(
        OneOf("per_head", "per_layer"),
        default="per_head",
        help="tanh of one number a head, or one plain number a layer",
    )
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[LlamaAdapterPlacement]:
        anatomy.check_sublayers(("attention",))
        anatomy.check_core("a LLaMA-Adapter")
        length = held(self.length)
        form: GateForm = held(self.gate_form)
        for layer in active_layers(self, anatomy) if length else ():
            shape = anatomy.layers[layer]
            site = f"{sublayer_address(layer, 'attention')}.core"
            yield LlamaAdapterPlacement(
                site, (layer,), "attention", length, shape.width, shape.heads, form
            )

    def words(self) -> str:
        """For example ``llama-adapter length 10 per_head in layers 2-31``."""
        return f"llama-adapter length {self.length} {self.gate_form}" + place_words(self.layers)
