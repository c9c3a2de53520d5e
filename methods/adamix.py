"""AdaMix: adapters that are a mixture of experts in training, and their average afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from peftnas.methods.adapter import Adapter, AdapterPlacement, BottleneckAdapter
from peftnas.methods.base import Method, Placement, SublayerDelta
from peftnas.methods.bottleneck import ACTIVATIONS, linear, widths_of
from peftnas.methods.layers import place_words, value_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Layers, OneOf, Whole, held, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class AdaMixPlacement(Placement):
    """The experts of one adapter.

    Attributes:
        adapter: what they are averaged to.
        experts: M, how many down projections there are.
        shared_up: one up projection, or M of them.
    """

    kind: ClassVar[str] = "adamix"
    adapter: AdapterPlacement
    experts: int
    shared_up: bool

    def count(self) -> int:
        """M * (dr + r), and dr + d once or M times."""
        d, [r] = self.adapter.width, widths_of(self.adapter.bottleneck)
        return self.experts * (d * r + r) + (1 if self.shared_up else self.experts) * (d * r + d)

    def stored(self) -> int:
        """That of one adapter."""
        return self.adapter.count()

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """What the experts are averaged to."""
        return (self.adapter,)

    def build(self, generator: torch.Generator) -> AdaMixDelta:
        return AdaMixDelta(self, generator)


class AdaMixDelta(SublayerDelta):
    """``U_i phi(D_j z + b_j) + b_i``, i and j drawn in each step; in evaluation their averages.

    All experts start as copies of one adapter whose U is 0: the identity.
    """

    consistency = True

    def __init__(self, placement: AdaMixPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.reads = placement.adapter.reads
        one = BottleneckAdapter(placement.adapter, generator)
        ups = 1 if placement.shared_up else placement.experts
        self.down, self.up = (
            nn.ModuleList(linear(layer.weight.detach().clone()) for _ in range(number))
            for layer, number in ((one.down, placement.experts), (one.up, ups))
        )
        self.drawn: tuple[int, int] | None = None

    def begin_step(self, step: int, steps: int, draw: int) -> None:
        """Draw a down and an up expert, for this adapter alone."""
        name = sum(ord(letter) * 257**i for i, letter in enumerate(self.placement.site))
        generator = torch.Generator().manual_seed((draw + name) % 2**62)
        down = int(torch.randint(len(self.down), (), generator=generator))
        self.drawn = down, int(torch.randint(len(self.up), (), generator=generator))

    def forward(self, z: Tensor, tokens: Tensor | None) -> Tensor:
        """z (B, T, d) -> delta (B, T, d)."""
        act = ACTIVATIONS[self.placement.adapter.activation]
        if self.training and self.drawn is not None:
            delta: Tensor = self.up[self.drawn[1]](act(self.down[self.drawn[0]](z)))
            return delta
        return _average(self.up, act(_average(self.down, z)))


def _average(experts: nn.ModuleList, z: Tensor) -> Tensor:
    """What the linear with the experts' mean weight and mean bias gives."""
    weights, biases = (
        torch.stack([getattr(expert, name) for expert in experts]).mean(0)
        for name in ("weight", "bias")
    )
    return nn.functional.linear(z, weights, biases)


@dataclass(frozen=True, kw_only=True)
class AdaMix(Method):
    """AdaMix: each step takes one of M down (and up) projections at random; later their average.

    In every step each adapter draws its experts for the whole batch, and the answers of two such
    passes are drawn together (half the symmetric KL divergence is added to the loss). All experts
    start alike, which makes the average meaningful. After training it is a plain adapter.

    Source: Wang et al. 2205.12410; the released script shares the up projection.
    """

    kind: ClassVar[str] = "adamix"
    formula: ClassVar[str] = (
        "each site: experts * (d*bottleneck + bottleneck) + d*bottleneck + d (up times experts "
        "unless shared); stored: one adapter"
    )
    source: ClassVar[str] = "Wang 2205.12410"

    site: str | Domain[str] = setting(
        OneOf("attention", "ffn", "both", "mixer"),
        default="ffn",
        help="the sublayer that it is added to",
    )
    bottleneck: int | Domain[int] | ByLayer[int] = setting(
        Whole(0), default=48, by_layer=True, size=True, help="width r inside; 0 = absent"
    )
    activation: str | Domain[str] = setting(
        OneOf(*ACTIVATIONS), default="relu", help="nonlinearity inside"
    )
    experts: int | Domain[int] = setting(Whole(1), default=4, help="down projections M")
    shared_up: bool | Domain[bool] = setting(
        OneOf(True, False), default=True, help="one up projection for all experts"
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[AdaMixPlacement]:
        plain = Adapter(
            site=self.site,
            placement="houlsby",
            bottleneck=self.bottleneck,
            activation=self.activation,
            layers=self.layers,
        )
        for adapter in plain.place(anatomy):
            yield AdaMixPlacement(adapter.site, adapter, held(self.experts), held(self.shared_up))

    def normal(self, anatomy: Anatomy) -> AdaMix:
        """One expert alone has nothing to share."""
        return self.replace(shared_up=True) if self.experts == 1 else self

    def words(self) -> str:
        """For example ``adamix ffn bottleneck 48 relu experts 4 in layers 0-2``."""
        shared = "" if self.shared_up else " up too"
        return (
            f"adamix {self.site} bottleneck {value_words(self.bottleneck)} {self.activation} "
            f"experts {self.experts}{shared}" + place_words(self.layers)
        )
