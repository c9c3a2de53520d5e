"""Bottleneck adapters: serial (Houlsby, Pfeiffer, after the norm) and parallel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import SUBLAYERS
from peftnas.methods.base import Method, Placement, SublayerDelta
from peftnas.methods.bottleneck import (
    ACTIVATIONS,
    bottleneck_count,
    random_linear,
    widths_of,
    zero_linear,
)
from peftnas.methods.gates import (
    GateSpec,
    GateTokens,
    gate_setting,
    gate_spec,
    gate_tokens_setting,
)
from peftnas.methods.layers import active_layers, layer_of, place_words, value_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import (
    AnyOf,
    Layers,
    Number,
    OneOf,
    Rule,
    Sizes,
    Whole,
    held,
    held_at,
    setting,
)
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Reads = Literal["output", "sum", "normed_sum", "residual", "normed_input", "stream"]

_SUBLAYERS = {name: (name,) for name in SUBLAYERS} | {"both": ("attention", "ffn")}
_DEFAULT_PLACEMENT = dict.fromkeys(_SUBLAYERS, "houlsby") | {"ffn": "pfeiffer"}


@dataclass(frozen=True)
class AdapterPlacement(Placement):
    """One adapter at one sublayer.

    Attributes:
        width: width d of the residual stream.
        bottleneck: r, at least 1; or several widths one after another.
        activation: a key of ``ACTIVATIONS``.
        reads: what the down projection reads; see :class:`SublayerDelta`.
        scale: constant s, or "learned".
        gate: its gate, or ``None``.
        drop_below: in training the adapters of a random number of lowest layers, at most this,
            are left out; never those of the highest layer that has one.
        norm: a LayerNorm of its own before the first linear ("in") or after the last ("out").
        bias: whether its linears have biases.
    """

    kind: ClassVar[str] = "adapter"
    width: int
    bottleneck: int | tuple[int, ...]
    activation: str
    reads: Reads
    # s folds into the up projection: another training, but the same functions
    scale: float | Literal["learned"] = field(metadata={"function": False})
    gate: GateSpec | None
    drop_below: int = field(default=0, metadata={"function": False, "usual": 0})
    norm: str | None = field(default=None, metadata={"usual": None})
    bias: bool = field(default=True, metadata={"usual": True})

    def count(self) -> int:
        """2dr + r + d (2dr without biases), and learned scale 1, gate d + 1, norm 2d."""
        inner = bottleneck_count(self.width, widths_of(self.bottleneck), self.width, self.bias)
        scale = 1 if self.scale == "learned" else 0
        norm = 0 if self.norm is None else 2 * self.width
        return inner + scale + norm + (self.gate.count() if self.gate else 0)

    def build(self, generator: torch.Generator) -> BottleneckAdapter:
        return BottleneckAdapter(self, generator)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """Rule 13: without a nonlinearity only the smallest width matters."""
        if self.activation != "identity":
            return (self,)
        rank = min(*widths_of(self.bottleneck), self.width)
        return (dataclasses.replace(self, bottleneck=rank),)

    def function(self) -> dict[str, Any]:
        """Without a nonlinearity d is the largest width."""
        found = super().function()
        if self.activation == "identity" and isinstance(self.bottleneck, int):
            found["bottleneck"] = min(self.bottleneck, self.width)
        return found

    def joins_by(self) -> str | None:
        single = self.gate is None and self.norm is None and isinstance(self.bottleneck, int)
        return "bottleneck" if single else None


class BottleneckAdapter(SublayerDelta):
    """``A(z) = G * s * (U phi(D z + b_D) + b_U)``; zero at the start, since U and b_U are 0.

    D starts Kaiming-uniform (a = sqrt 5), b_D at 0, a learned s at 1. Of several widths all but
    the last linear start like D, each followed by phi.
    """

    def __init__(self, placement: AdapterPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.reads = placement.reads
        width, inner, bias = placement.width, widths_of(placement.bottleneck), placement.bias
        self.down = random_linear(width, inner[0], bias, generator)
        self.inner = nn.ModuleList(
            random_linear(a, b, bias, generator) for a, b in zip(inner, inner[1:], strict=False)
        )
        self.up = zero_linear(inner[-1], width, bias)
        self.norm = None if placement.norm is None else nn.LayerNorm(width)
        self.scale: nn.Parameter | float = (
            nn.Parameter(torch.ones(())) if placement.scale == "learned" else placement.scale
        )
        self.gate = placement.gate.build(generator) if placement.gate else None
        self.drawn = 0  # lowest layers that go without adapters

    def begin_step(self, step: int, steps: int, draw: int) -> None:
        """Draw how many lowest layers go without adapters, the same in all of them."""
        most = self.placement.drop_below
        if most:
            generator = torch.Generator().manual_seed(draw)
            self.drawn = int(torch.randint(most + 1, (), generator=generator))

    @property
    def idle(self) -> bool:
        return layer_of(self.placement.site) < self.drawn

    def forward(self, z: Tensor, tokens: Tensor | None) -> Tensor:
        """z (B, T, d) -> what is added to the residual stream, (B, T, d)."""
        act, norm, given = ACTIVATIONS[self.placement.activation], self.norm, z
        if norm is not None and self.placement.norm == "in":
            given = norm(z)
        hidden = act(self.down(given))
        for between in self.inner:
            hidden = act(between(hidden))
        delta: Tensor = self.up(hidden)
        if norm is not None and self.placement.norm == "out":
            delta = norm(delta)
        return delta * self.scale


def _undefined_placement(values: dict[str, Any]) -> str | None:
    if values["insertion"] != "serial" or values["placement"] != "pfeiffer":
        return None
    if values["site"] == "ffn":
        return None
    return (
        f"placement 'pfeiffer' is defined for site 'ffn' only, got site {values['site']!r}; "
        "take placement=None (the site's default) or 'houlsby' there"
    )


@dataclass(frozen=True, kw_only=True)
class Adapter(Method):
    """Bottleneck adapter ``A(z) = s * (U phi(D z + b_D) + b_U)`` at a sublayer F with h = F(.).

    x is the residual stream before the sublayer, LN the sublayer's own (frozen) norm:

    ========================  =================================  ========================
    insertion, placement      post-LN                            pre-LN, h = F(LN x)
    ========================  =================================  ========================
    serial, houlsby           ``LN(x + h + A(h))``               ``x + h + A(h)``
    serial, pfeiffer          ``LN(x + h + A(LN(x + h)))``       ``x + h + A(x + h)``
    serial, after_ln          ``z + A(z)``, ``z = LN(x + h)``    the same as pfeiffer
    parallel, residual        ``LN(x + h + A(x))``               ``x + h + A(x)``
    parallel, normed          the same as residual               ``x + h + A(LN x)``
    ========================  =================================  ========================

    Source: Houlsby et al. 1902.00751; Pfeiffer et al. 2005.00247; He et al. 2110.04366 (parallel,
    the scale s, which multiplies the up bias too); gate: Mao et al. 2110.07577.
    """

    kind: ClassVar[str] = "adapter"
    formula: ClassVar[str] = (
        "each site: 2*d*bottleneck + bottleneck + d (+1 learned scale) (+2d norm) (+d+1 gate)"
    )
    source: ClassVar[str] = (
        "Houlsby 1902.00751, Pfeiffer 2005.00247, He 2110.04366; details as in `adapters`"
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(("site", "insertion", "placement"), _undefined_placement),
    )

    site: str | Domain[str] = setting(
        OneOf("attention", "ffn", "both", "cross_attention", "mixer"),
        default="ffn",
        help="the sublayer that it is added to; both: attention and ffn",
    )
    insertion: str | Domain[str] = setting(
        OneOf("serial", "parallel"),
        default="serial",
        help="reads the sublayer's output (serial) or its input (parallel)",
    )
    placement: str | None | Domain[str | None] = setting(
        OneOf(None, "houlsby", "pfeiffer", "after_ln"),
        default=None,
        when={"insertion": ("serial",)},
        help="where a serial one sits; None: pfeiffer at ffn, houlsby at attention and both",
    )
    parallel_input: str | Domain[str] = setting(
        OneOf("normed", "residual"),
        default="normed",
        when={"insertion": ("parallel",)},
        help="pre-LN backbones: it reads what the sublayer reads, or the bare residual stream",
    )
    bottleneck: int | tuple[int, ...] | Domain[Any] | ByLayer[Any] = setting(
        AnyOf(Whole(0), Sizes()),
        default=64,
        by_layer=True,
        size=True,
        help="width r inside, or several one after another such as (64, 32); 0 = absent",
    )
    activation: str | Domain[str] | ByLayer[str] = setting(
        OneOf(*ACTIVATIONS), default="relu", by_layer=True, help="nonlinearity inside"
    )
    scale: float | Literal["learned"] | Domain[Any] = setting(
        AnyOf(OneOf("learned"), Number(0, above=True)),
        default=1.0,
        help="s: a constant, or 'learned' (starts at 1)",
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )
    norm: str | None | Domain[str | None] = setting(
        OneOf(None, "in", "out"),
        default=None,
        help="a trained LayerNorm of its own: before its first linear or after its last",
    )
    bias: bool | Domain[bool] = setting(
        OneOf(True, False), default=True, help="biases in its linears"
    )
    drop_below: int | Domain[int] = setting(
        Whole(0),
        default=0,
        help="robust AdapterDrop: most lowest layers that a training step leaves out; never the "
        "highest that has an adapter",
    )
    gate: str | None | Domain[str | None] = gate_setting()
    gate_tokens: GateTokens | Domain[GateTokens] = gate_tokens_setting()

    def place(self, anatomy: Anatomy) -> Iterator[AdapterPlacement]:
        scale: float | Literal["learned"] = held(self.scale)
        sublayers = _SUBLAYERS[held(self.site)]
        anatomy.check_sublayers(sublayers, among=SUBLAYERS)
        reads, gate, tokens = self._reads(anatomy.norm_order), held(self.gate), self.gate_tokens
        norm, bias, drop_below = held(self.norm), held(self.bias), held(self.drop_below)
        scale = "learned" if scale == "learned" else float(scale)
        found = [
            (layer, sublayer.address, _plain(held_at(self.bottleneck, layer)))
            for layer in active_layers(self, anatomy)
            for sublayer in anatomy.sublayers_of(layer, sublayers)
            if held_at(self.bottleneck, layer)
        ]
        layers = [layer for layer, _, _ in found] or [0]
        # a step without any adapter would have nothing to learn; below the lowest there is none
        drop_below = min(drop_below, max(layers)) if drop_below > min(layers) else 0
        for layer, address, bottleneck in found:
            width = anatomy.layers[layer].width
            yield AdapterPlacement(
                address,
                width,
                bottleneck,
                held_at(self.activation, layer),
                reads,
                scale,
                gate_spec(gate, width, held(tokens)),
                drop_below,
                norm,
                bias,
            )

    def normal(self, anatomy: Anatomy) -> Self:
        """One name for placements and inputs that are the same on this backbone."""
        post = anatomy.norm_order == "post"
        if _plain(self.bottleneck) != self.bottleneck:
            return self.replace(bottleneck=_plain(self.bottleneck)).normal(anatomy)
        if self.drop_below:
            highest = next(self.place(anatomy)).drop_below
            if highest != self.drop_below:
                return self.replace(drop_below=highest).normal(anatomy)
        if self.insertion == "parallel":
            return self.replace(parallel_input="normed") if post else self
        placement = self._placement()
        if placement == "after_ln" and self.site == "ffn" and not post:
            placement = "pfeiffer"
        default = _DEFAULT_PLACEMENT[held(self.site)]
        return self.replace(placement=None if placement == default else placement)

    def words(self) -> str:
        """For example ``adapter ffn serial (pfeiffer) bottleneck 16 relu in layers 0-2``."""
        if self.insertion == "serial":
            how = f"serial ({self._placement()})"
        else:
            how = f"parallel ({self.parallel_input})"
        where = "+".join(_SUBLAYERS[held(self.site)])
        parts = [
            f"adapter {where} {how} bottleneck {value_words(self.bottleneck)}",
            value_words(self.activation),
        ]
        if self.scale != 1:
            parts.append(f"scale {self.scale}")
        if self.norm is not None:
            parts.append(f"norm {self.norm}")
        if not self.bias:
            parts.append("no bias")
        if self.drop_below:
            parts.append(f"drop below {self.drop_below}")
        if self.gate is not None:
            parts.append("gated")
        return " ".join(parts) + place_words(self.layers)

    def _placement(self) -> str:
        return held(self.placement) or _DEFAULT_PLACEMENT[held(self.site)]

    def _reads(self, norm_order: str) -> Reads:
        post = norm_order == "post"
        if self.insertion == "parallel":
            return "residual" if post or self.parallel_input == "residual" else "normed_input"
        placement = self._placement()
        if placement == "houlsby":
            return "output"
        if not post:
            return "sum"
        return "normed_sum" if placement == "pfeiffer" else "stream"


def _plain(bottleneck: Any) -> Any:
    """One width alone is a number."""
    if isinstance(bottleneck, tuple) and len(bottleneck) == 1:
        return bottleneck[0]
    return bottleneck
