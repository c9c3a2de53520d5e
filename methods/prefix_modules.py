"""Prefixes as modules: keys and values of their own, or through an MLP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import sublayer_address
from peftnas.methods.base import Placement, PrefixKeyValues
from peftnas.methods.folding import Folds
from peftnas.methods.gates import GateSpec

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
