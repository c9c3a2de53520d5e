"""LoRA and prefix of a layer behind one gate, which divides one between them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from peftnas.methods.base import Bundle, Method, Placement
from peftnas.methods.gates import CentralGate, GateTokens, SharedGate, gate_tokens_setting
from peftnas.methods.layers import layer_of, place_words
from peftnas.methods.lora import LoRA, LoRAPlacement
from peftnas.methods.prefix import Prefix
from peftnas.methods.prefix_modules import FlatPrefix, FlatPrefixPlacement, MlpPrefixPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Layers, OneOf, SomeOf, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class GatedLoRAPrefixPlacement(Placement):
    """The prefix of one layer, or of several that share its MLP, and the LoRA of these layers.

    Attributes:
        layers: their numbers, ascending.
        sublayer: "attention", whose input the gates read.
        width: width d of that input.
        prefix: the prefix, without a gate of its own.
        loras: the LoRA of all these layers, without gates of their own.
        tokens: the tokens that the gates take their mean over.
    """

    kind: ClassVar[str] = "gated_lora_prefix"
    is_prefix: ClassVar[bool] = True
    layers: tuple[int, ...]
    sublayer: str
    width: int
    prefix: FlatPrefixPlacement | MlpPrefixPlacement
    loras: tuple[LoRAPlacement, ...]
    tokens: GateTokens

    def count(self) -> int:
        """2(d + 1) a layer, the prefix, and the LoRA."""
        return self._gates() + self.prefix.count() + sum(one.count() for one in self.loras)

    def stored(self) -> int:
        """An MLP of the prefix folds away."""
        return self._gates() + self.prefix.stored() + sum(one.stored() for one in self.loras)

    def build(self, generator: torch.Generator) -> GatedLoRAPrefixBundle:
        return GatedLoRAPrefixBundle(self, generator)

    def reaches(self, anatomy: Anatomy) -> Iterator[GatedLoRAPrefixPlacement]:
        """One a layer, with the keys and values that an MLP of the prefix folds into."""
        for prefix in self.prefix.reaches(anatomy):
            here = tuple(one for one in self.loras if layer_of(one.site) in prefix.layers)
            yield dataclasses.replace(
                self, site=prefix.site, layers=prefix.layers, prefix=prefix, loras=here
            )

    def _gates(self) -> int:
        return len(self.layers) * 2 * (self.width + 1)


class GatedLoRAPrefixBundle(Bundle):
    """A prefix, which owns the gates, and the LoRA that read the same ones."""

    def __init__(self, placement: GatedLoRAPrefixPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        here = placement.prefix
        readers = Counter(layer_of(lora.site) for lora in placement.loras)
        gates = {
            layer: CentralGate(placement.width, placement.tokens, readers[layer], generator)
            for layer in placement.layers
        }
        prefix = here.build(generator)
        shares = {layer: SharedGate(gate, column=1, first=True) for layer, gate in gates.items()}
        if isinstance(prefix, FlatPrefix):
            (prefix.gate,) = shares.values()
        else:
            prefix.gates = nn.ModuleDict({str(layer): one for layer, one in shares.items()})
        loras = [one.build(generator) for one in placement.loras]
        for lora in loras:
            lora.gate = SharedGate(gates[layer_of(lora.placement.site)], column=0)
        self.sites = (here.site, *(one.site for one in placement.loras))
        self.parts = nn.ModuleList([prefix, *loras])


@dataclass(frozen=True, kw_only=True)
class GatedLoRAPrefix(Method):
    """LoRA and a prefix behind UniPELT's central gate, which divides one between them.

    ``(G_1, G_2) = softmax(mean over tokens of relu(W x + b))``, x what the attention of the layer
    reads; the deltas of all its LoRA times G_1, the keys and values of its prefix times G_2. Where
    ``gate="unipelt"`` of the single methods opens or closes each module by itself, here one gains
    what the other loses. Never the identity (the prefix), not mergeable. A mean over a whole text:
    it classifies with a decoder, but does not generate token by token.

    Source: Mao et al. 2110.07577, option ``add_central_gate`` of the released code, whose mean
    includes padding (``gate_tokens="all"``) and whose prefix has an MLP (``mlp=512``).
    """

    kind: ClassVar[str] = "gated_lora_prefix"
    formula: ClassVar[str] = "LoRA + prefix + each layer: 2*(d+1)"
    source: ClassVar[str] = "Mao 2110.07577, central gate of the released code"

    rank: int | Domain[int] = setting(
        Whole(0), default=8, help="rank r of the LoRA; 0: a prefix alone, without gate"
    )
    targets: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf("query", "key", "value"),
        default=("query", "value"),
        help="linears that the LoRA is added to",
    )
    length: int | Domain[int] = setting(
        Whole(0), default=10, help="length l of the prefix; 0: LoRA alone, without gate"
    )
    mlp: int | None | Domain[int | None] = setting(
        AnyOf(OneOf(None), Whole(1)),
        default=None,
        help="hidden width of an MLP used in training only; None: keys and values are trained",
    )
    gate_tokens: GateTokens | Domain[GateTokens] = gate_tokens_setting(causal=False, always=True)
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[Placement]:
        anatomy.check_sublayers(("attention",))
        loras: dict[int, list[LoRAPlacement]] = {}
        for lora in self._lora().place(anatomy):
            loras.setdefault(layer_of(lora.site), []).append(lora)
        if not loras or not self.length:
            yield from (lora for here in loras.values() for lora in here)
            yield from self._prefix().place(anatomy)
            return
        for prefix in self._prefix().place(anatomy):
            width = anatomy.layers[prefix.layers[0]].width
            here = tuple(lora for layer in prefix.layers for lora in loras[layer])
            tokens: GateTokens = held(self.gate_tokens)
            yield GatedLoRAPrefixPlacement(
                prefix.site, prefix.layers, prefix.sublayer, width, prefix, here, tokens
            )

    def normal(self, anatomy: Anatomy) -> Method | None:
        """A gate over one module is the constant 1: that module alone."""
        if not self.rank or not self.targets:
            return self._prefix().normal(anatomy)
        return self if self.length else self._lora().normal(anatomy)

    def words(self) -> str:
        """For example ``lora rank 8 on query, value against prefix length 10 in layers 0-2``."""
        mlp = "" if self.mlp is None else f" (mlp {self.mlp})"
        return (
            f"lora rank {self.rank} on {', '.join(held(self.targets))} against prefix length "
            f"{self.length}{mlp}" + place_words(self.layers)
        )

    def _lora(self) -> LoRA:
        return LoRA(rank=self.rank, targets=self.targets, layers=self.layers)

    def _prefix(self) -> Prefix:
        return Prefix(length=self.length, mlp=self.mlp, layers=self.layers)
