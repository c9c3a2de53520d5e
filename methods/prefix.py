"""Prefix tuning: trained keys and values in front of the real ones, flat or through an MLP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import sublayer_address
from peftnas.methods.base import Method, Placement, PrefixKeyValues
from peftnas.methods.folding import Folds
from peftnas.methods.gates import (
    GateSpec,
    GateTokens,
    gate_setting,
    gate_spec,
    gate_tokens_setting,
)
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.prompt import without_repetitions
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, Layers, OneOf, SomeOf, Tokens, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

INIT_STD = 0.02


@dataclass(frozen=True)
class FlatPrefixPlacement(Placement):
    """The prefix of one layer, whose keys and values are the parameters.

    Attributes:
        layers: that one layer.
        sublayer: "attention" or "cross_attention".
        length: l, how many keys and values.
        kv_heads: g, key-value heads of the backbone.
        head_width: c.
        gate: its gate, or ``None``; its input is what the attention module reads.
        tokens: ids of the tokens whose keys and values it starts from, which attach reads off the
            backbone; ``None``: at random.
    """

    kind: ClassVar[str] = "prefix"
    is_prefix: ClassVar[bool] = True
    layers: tuple[int, ...]
    sublayer: str = field(metadata={"usual": "attention"})
    length: int
    kv_heads: int
    head_width: int
    gate: GateSpec | None
    tokens: tuple[int, ...] | None = field(
        default=None, metadata={"usual": None, "function": False}
    )

    def count(self) -> int:
        """2lgc, and the gate."""
        keys = self.length * self.kv_heads * self.head_width
        return 2 * keys + (self.gate.count() if self.gate else 0)

    def build(self, generator: torch.Generator) -> FlatPrefix:
        return FlatPrefix(self, generator)

    def reaches(self, anatomy: Anatomy) -> Iterator[FlatPrefixPlacement]:
        """Itself."""
        yield self

    def joins_by(self) -> str | None:
        return "length" if self.gate is None else None


@dataclass(frozen=True)
class MlpPrefixPlacement(Placement):
    """The prefixes of several layers, computed by one MLP from one trained embedding.

    Attributes:
        layers: the layers that it serves, ascending.
        sublayer: "attention" or "cross_attention".
        length: l.
        kv_heads: g.
        head_width: c.
        width: width d' of the embedding.
        hidden: m, hidden width of the MLP.
        gate: the gate of each layer, or ``None``.
    """

    kind: ClassVar[str] = "prefix_mlp"
    is_prefix: ClassVar[bool] = True
    layers: tuple[int, ...]
    sublayer: str = field(metadata={"usual": "attention"})
    length: int
    kv_heads: int
    head_width: int
    width: int
    hidden: int
    gate: GateSpec | None

    def count(self) -> int:
        """l*d' + (d'm + m) + (m * 2Lgc + 2Lgc), L the active layers, and the gates."""
        outputs = 2 * len(self.layers) * self.kv_heads * self.head_width
        return (
            self.length * self.width
            + (self.width + 1) * self.hidden
            + (self.hidden + 1) * outputs
            + self._gates()
        )

    def stored(self) -> int:
        """2Llgc, and the gates: the keys and values that the MLP folds into."""
        flat = 2 * len(self.layers) * self.length * self.kv_heads * self.head_width
        return flat + self._gates()

    def build(self, generator: torch.Generator) -> MlpPrefix:
        return MlpPrefix(self, generator)

    def reaches(self, anatomy: Anatomy) -> Iterator[FlatPrefixPlacement]:
        """The keys and values of each layer, which the MLP folds into."""
        for layer in self.layers:
            yield FlatPrefixPlacement(
                f"{sublayer_address(layer, self.sublayer)}.core",
                (layer,),
                self.sublayer,
                self.length,
                self.kv_heads,
                self.head_width,
                self.gate,
            )

    def _gates(self) -> int:
        return len(self.layers) * self.gate.count() if self.gate else 0


class FlatPrefix(PrefixKeyValues):
    """Keys and values (l, g, c) of one layer, drawn from N(0, 0.02)."""

    def __init__(self, placement: FlatPrefixPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        shape = (placement.length, placement.kv_heads, placement.head_width)
        self.keys = nn.Parameter(torch.randn(shape, generator=generator) * INIT_STD)
        self.values = nn.Parameter(torch.randn(shape, generator=generator) * INIT_STD)
        self.gate: nn.Module | None = placement.gate.build(generator) if placement.gate else None

    def forward(self, layer: int, hidden: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """hidden (B, T, d) -> keys, values (B, g, l, c) each."""
        return _gated(self.keys, self.values, self.gate, hidden, tokens)


class MlpPrefix(PrefixKeyValues):
    """``[K, V] = mlp_out(tanh(mlp_in(embedding)))``, viewed as (l, 2L, g, c).

    Rows 2i and 2i + 1 are the keys and values of the i-th layer served. The embedding is drawn
    from N(0, 1), the weights Kaiming-uniform (a = sqrt 5), the biases are 0. The MLP runs in every
    call; after ``merge()``, in evaluation without gradients, it runs once and its keys and values
    are kept.
    """

    def __init__(self, placement: MlpPrefixPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        length, width, hidden = placement.length, placement.width, placement.hidden
        outputs = 2 * len(placement.layers) * placement.kv_heads * placement.head_width
        self.embedding = nn.Parameter(torch.randn(length, width, generator=generator))
        self.in_weight = _kaiming(hidden, width, generator)
        self.in_bias = nn.Parameter(torch.zeros(hidden))
        self.out_weight = _kaiming(outputs, hidden, generator)
        self.out_bias = nn.Parameter(torch.zeros(outputs))
        self._folds = Folds(self)
        gates: dict[str, nn.Module] = {}
        if placement.gate is not None:
            gates = {str(layer): placement.gate.build(generator) for layer in placement.layers}
        self.gates = nn.ModuleDict(gates)

    def forward(self, layer: int, hidden: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor]:
        """hidden (B, T, d) of ``layer`` -> its keys, values (B, g, l, c) each."""
        keys, values = self.folded(layer)
        gate = self.gates[str(layer)] if self.gates else None
        return _gated(keys, values, gate, hidden, tokens)

    def folded(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer, before its gate; (l, g, c) each."""
        key = (layer, self.embedding.dtype)
        return self._folds.get(self.training, key, lambda: self._fold(layer))

    def _fold(self, layer: int) -> tuple[Tensor, Tensor]:
        here = self.placement
        inner = torch.tanh(nn.functional.linear(self.embedding, self.in_weight, self.in_bias))
        size = 2 * here.kv_heads * here.head_width
        start = here.layers.index(layer) * size
        rows = slice(start, start + size)  # only this layer's share of the output layer
        both = nn.functional.linear(inner, self.out_weight[rows], self.out_bias[rows])
        keys, values = both.view(here.length, 2, here.kv_heads, here.head_width).unbind(1)
        return keys, values


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Prefix tuning: attention over ``[K_p; K]`` and ``[V_p; V]``, in every active layer.

    K_p and V_p (l keys and values for each of the g key-value heads) are raw: no projection, no
    position, seen by every query. Real tokens keep positions 0..T-1. Never the identity, not even
    with zeros (they take their share of the softmax), and never mergeable.

    With ``mlp`` the keys and values of all layers come from one trained embedding (l, d) through a
    tanh MLP of that hidden width, which folds away after training. What is kept is the same, and
    so is ``function_key``, although a narrow MLP does not reach every K_p, V_p.

    With ``tokens`` it starts with what the frozen backbone computes as keys and values of these
    tokens (without positions, as all of the prefix), which helps where data are few.

    Source: Li & Liang 2101.00190; gate: Mao et al. 2110.07577, K_p and V_p times G, where the
    library `adapters` also offers one G each (``gate_outputs=2``).
    """

    kind: ClassVar[str] = "prefix"
    formula: ClassVar[str] = (
        "2*L*length*kv_width; with mlp: length*d + (d+1)*mlp + (mlp+1)*2*L*kv_width "
        "(+L*gate_outputs*(d+1) gates)"
    )
    source: ClassVar[str] = "Li & Liang 2101.00190; MLP as in the UniPELT code"

    length: int | Domain[int] = setting(
        Whole(0), default=10, size=True, help="keys and values l in front; 0 = absent"
    )
    mlp: int | None | Domain[int | None] = setting(
        AnyOf(OneOf(None), Whole(1)),
        default=None,
        help="hidden width of an MLP used in training only; None: keys and values are trained",
    )
    sublayers: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf("attention", "cross_attention"),
        default=("attention",),
        help="attention whose keys and values it extends",
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )
    gate: str | None | Domain[str | None] = gate_setting()
    gate_tokens: GateTokens | Domain[GateTokens] = gate_tokens_setting(causal=False)
    gate_outputs: int | Domain[int] = setting(
        OneOf(1, 2),
        default=1,
        when={"gate": ("unipelt",)},
        help="one gate for keys and values, or one each",
    )

    tokens: tuple[int, ...] | None | Domain[Any] = setting(
        AnyOf(OneOf(None), Tokens()),
        default=None,
        when={"mlp": (None,)},
        help="ids of tokens whose keys and values it starts from, repeated; None: random",
    )

    def place(self, anatomy: Anatomy) -> Iterator[FlatPrefixPlacement | MlpPrefixPlacement]:
        named: tuple[str, ...] = held(self.sublayers)
        anatomy.check_sublayers(named)
        anatomy.check_core("a prefix")
        layers, length = active_layers(self, anatomy), held(self.length)
        for number, stack in enumerate(anatomy.stacks) if length else ():
            for name in named:
                here = tuple(
                    layer
                    for layer in layers
                    if layer in stack.layers and any(anatomy.sublayers_of(layer, (name,)))
                )
                if here and self.tokens is not None:
                    _check_words(anatomy, number, name)
                if here:
                    yield from self._place(anatomy, number, name, here)

    def _place(
        self, anatomy: Anatomy, number: int, name: str, layers: tuple[int, ...]
    ) -> Iterator[FlatPrefixPlacement | MlpPrefixPlacement]:
        """The prefixes of one kind of attention in some layers of one stack."""
        shape, length, hidden = anatomy.layers[layers[0]], held(self.length), held(self.mlp)
        heads, width = shape.kv_heads, shape.head_width
        gate = gate_spec(
            held(self.gate), shape.width, held(self.gate_tokens), held(self.gate_outputs)
        )
        tokens: Any = self.tokens
        if hidden is not None:
            site = f"{anatomy.stacks[number].prefix}{name}.core"
            yield MlpPrefixPlacement(
                site, layers, name, length, heads, width, shape.width, hidden, gate
            )
            return
        for layer in layers:
            site = f"{sublayer_address(layer, name)}.core"
            yield FlatPrefixPlacement(
                site, (layer,), name, length, heads, width, gate, held(tokens)
            )

    def normal(self, anatomy: Anatomy) -> Prefix:
        """Tokens without their repetitions."""
        tokens: Any = held(self.tokens)
        if tokens is None:
            return self
        return self.replace(tokens=without_repetitions(tokens, held(self.length)))

    def words(self) -> str:
        """For example ``prefix length 10 (mlp 512) gated in layers 0-2``."""
        mlp = "" if self.mlp is None else f" (mlp {self.mlp})"
        where = (
            "" if self.sublayers == ("attention",) else f" on {', '.join(held(self.sublayers))}"
        )
        gated = "" if self.gate is None else " gated"
        return f"prefix length {self.length}{mlp}{gated}{where}" + place_words(self.layers)


def _check_words(anatomy: Anatomy, number: int, name: str) -> None:
    """Raise ``ValueError`` if the keys and values of an attention are those of no words."""
    source = 0 if name == "cross_attention" else number
    if anatomy.stacks[source].tokens is not None:
        return
    reading = [stack for stack in anatomy.stacks if stack.tokens is not None]
    layers = tuple(layer for stack in reading for layer in stack.layers)
    remedy = f"leave tokens out, or take layers={layers} and sublayers=('attention',)"
    raise ValueError(
        f"tokens need an attention that reads words, got layers of the "
        f"{anatomy.stacks[source].name or 'one'} stack of a {anatomy.model_type} backbone, which "
        f"reads no words; {remedy if reading else 'leave tokens out'}"
    )


def _gated(
    keys: Tensor,
    values: Tensor,
    gate: nn.Module | None,
    hidden: Tensor,
    tokens: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """(l, g, c) each -> (B, g, l, c) each, times their gates."""
    batch = hidden.shape[0]
    keys = keys.transpose(0, 1).unsqueeze(0).expand(batch, -1, -1, -1)
    values = values.transpose(0, 1).unsqueeze(0).expand(batch, -1, -1, -1)
    if gate is None:
        return keys, values
    opened = gate(hidden, tokens)[:, 0, :, None, None, None]  # (B, 1 or 2, 1, 1, 1)
    return keys * opened[:, 0], values * opened[:, -1]


def _kaiming(n_out: int, n_in: int, generator: torch.Generator) -> nn.Parameter:
    weight = torch.empty(n_out, n_in)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    return nn.Parameter(weight)
