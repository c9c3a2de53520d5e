"""CoDA: a router lets some tokens through each frozen layer, the others pass by it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.adapter import Adapter, AdapterPlacement
from peftnas.methods.base import Bundle, Method, Placement, SublayerScale
from peftnas.methods.bottleneck import ACTIVATIONS
from peftnas.methods.layers import active_layers, layer_of, place_words, value_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Layers, Number, OneOf, Whole, held, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

INIT_STD = 0.02
SMOOTHNESS = 0.1  # of the soft selection, times the spread of the scores


@dataclass(frozen=True)
class CoDAPlacement(Placement):
    """Router and adapters of one layer.

    Attributes:
        width: width d of the residual stream.
        sublayers: addresses of the sublayers that tokens are selected for, in their order.
        adapters: parallel adapters, which all tokens pass.
        keep: part of the tokens that the frozen sublayers work on, below 1.
    """

    kind: ClassVar[str] = "coda"
    width: int
    sublayers: tuple[str, ...]
    adapters: tuple[AdapterPlacement, ...]
    keep: float

    def count(self) -> int:
        """d, and the adapters."""
        return self.width + sum(adapter.count() for adapter in self.adapters)

    def build(self, generator: torch.Generator) -> CoDALayer:
        return CoDALayer(self, generator)


class CoDALayer(Bundle):
    """The router w (d) of a layer, drawn from N(0, 0.02), and what is at its sublayers."""

    def __init__(self, placement: CoDAPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.router = nn.Parameter(INIT_STD * torch.randn(placement.width, generator=generator))
        adapters = [adapter.build(generator) for adapter in placement.adapters]
        self.sites = placement.sublayers + tuple(one.site for one in placement.adapters)
        scales = [CoDAScale(self, number) for number in range(len(placement.sublayers))]
        self.parts = nn.ModuleList([*scales, *adapters])
        self._selected: Tensor | None = None

    def selection(self, x: Tensor, tokens: Tensor | None, first: bool) -> Tensor:
        """Weights (B, T) in [0, 1] of the tokens; those of the layer's first sublayer hold."""
        if first or self._selected is None or self._selected.shape != x.shape[:2]:
            scores = (x.float() @ self.router.float()).masked_fill(
                torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
                if tokens is None
                else ~tokens,
                -math.inf,
            )
            self._selected = select(scores, self.placement.keep).to(x.dtype)
        return self._selected

    def forget(self) -> None:
        """The layer is done."""
        self._selected = None


class CoDAScale(SublayerScale):
    """What the output of one sublayer is multiplied with, token by token."""

    def __init__(self, layer: CoDALayer, number: int) -> None:
        super().__init__()
        self._layer = (layer,)  # in a tuple: not a submodule, which would own the router again
        self.number = number

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, d), what the sublayer adds to -> (B, T, 1)."""
        layer = self._layer[0]
        weights = layer.selection(x, tokens, self.number == 0).unsqueeze(-1)
        if self.number == len(layer.placement.sublayers) - 1:
            layer.forget()
        return weights


def select(scores: Tensor, keep: float) -> Tensor:
    """Soft selection of k = ``ceil(keep * T)`` tokens each: weights (B, T), 0 outside the best.

    The weights maximise ``score . weight + eps * entropy`` under ``0 <= weight <= 1`` and a sum of
    k: ``min(1, exp((score + a) / eps))``. Lei et al. approach a in about 20 steps; here it is
    solved for. Only the best k tokens keep their weights.

    Args:
        scores: (B, T) float32; -inf for padding.
        keep: part of the real tokens, in (0, 1).
    """
    real = scores.isfinite()
    n_real = real.sum(dim=1, keepdim=True)
    number = (keep * n_real - 1e-5).ceil().clamp(min=1)  # of rounded parts
    clean = scores.masked_fill(~real, 0.0)
    eps = SMOOTHNESS * _spread(clean.detach(), real, n_real).clamp(min=1e-3)
    scaled = (clean / eps).masked_fill(~real, -1e9)
    ordered = scaled.sort(dim=1, descending=True).values
    # with the m best at 1, the others share number - m: the smallest m for which none exceeds 1
    tails = ordered.flip(1).logcumsumexp(dim=1).flip(1)
    best = torch.arange(scores.shape[1], device=scores.device)
    left = number - best
    shifts = left.clamp(min=1e-9).log() - tails
    fits = (ordered + shifts <= 0) & (left > 0)
    first = fits.int().argmax(dim=1, keepdim=True)
    shift = shifts.gather(1, first)
    weights = (scaled + shift).clamp(max=0).exp() * real
    order = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return weights * (order < number)


def _spread(scores: Tensor, real: Tensor, n_real: Tensor) -> Tensor:
    """Standard deviation over the real tokens of a row, (B, 1)."""
    n_real = n_real.clamp(min=1)
    mean = (scores * real).sum(dim=1, keepdim=True) / n_real
    squares = ((scores - mean) * real).square().sum(dim=1, keepdim=True)
    return (squares / n_real).sqrt()


@dataclass(frozen=True, kw_only=True)
class CoDA(Method):
    """CoDA: ``x + lambda F(x) + A(x)``: only some tokens pass the frozen F, all pass the adapter.

    A router scores tokens at the entry of each layer; a soft top-k gives weights lambda to the
    best ``token_keep_ratio`` of the real ones, 0 to the others. A selected token attends to
    all. The function is the exact one, but computed on all tokens and then multiplied: it shows
    what a ratio costs in accuracy, not the time that skipping tokens saves.

    Not the identity at the start (tokens skip layers), not mergeable, for encoders only: a top-k
    over a text sees its future. With ratio 1 it is a parallel adapter.

    Source: Lei et al. 2304.04947 (keys and values of all tokens).
    """

    kind: ClassVar[str] = "coda"
    formula: ClassVar[str] = "each layer: d + 2*d*bottleneck + bottleneck + d"
    source: ClassVar[str] = "Lei 2304.04947"

    token_keep_ratio: float | Domain[float] = setting(
        Number(0, 1, above=True), default=1 / 3, help="part of the tokens that pass frozen layers"
    )
    bottleneck: int | Domain[int] | ByLayer[int] = setting(
        Whole(0), default=64, by_layer=True, size=True, help="width of the adapter; 0 = absent"
    )
    activation: str | Domain[str] = setting(
        OneOf(*ACTIVATIONS), default="relu", help="nonlinearity inside"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[CoDAPlacement | AdapterPlacement]:
        anatomy.check_sublayers(("ffn",))
        plain = self._adapter()
        by_layer = {layer_of(adapter.site): adapter for adapter in plain.place(anatomy)}
        if self.token_keep_ratio == 1:
            yield from by_layer.values()
            return
        for layer in active_layers(self, anatomy):
            if anatomy.stacks[anatomy.layers[layer].stack].causal:
                raise ValueError(
                    f"CoDA selects among all tokens of a text, but layer {layer} of this "
                    f"{anatomy.model_type} backbone sees earlier tokens only; name layers of an "
                    "encoder"
                )
            if layer in by_layer:
                names = [s.address for s in anatomy.sublayers_of(layer, ("attention", "ffn"))]
                width = anatomy.layers[layer].width
                keep = float(held(self.token_keep_ratio))
                adapters = (by_layer[layer],)
                yield CoDAPlacement(f"layers[{layer}]", width, tuple(names), adapters, keep)

    def _adapter(self) -> Adapter:
        return Adapter(
            insertion="parallel",
            bottleneck=self.bottleneck,
            activation=self.activation,
            layers=self.layers,
        )

    def normal(self, anatomy: Anatomy) -> Method:
        """With ratio 1 a parallel adapter."""
        return self if self.token_keep_ratio != 1 else self._adapter().normal(anatomy)

    def words(self) -> str:
        """For example ``coda keep 0.33 bottleneck 64 relu in layers 0-2``."""
        return (
            f"coda keep {self.token_keep_ratio:.2g} bottleneck {value_words(self.bottleneck)} "
            f"{self.activation}" + place_words(self.layers)
        )
