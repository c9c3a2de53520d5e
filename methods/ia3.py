"""(IA)3: learned vectors that rescale keys, values and the inside of the FFN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import nn

from peftnas.methods.anatomy import TARGETS
from peftnas.methods.base import Method, Placement, Rescale
from peftnas.methods.layers import active_layers, place_words
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Layers, OneOf, SomeOf, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Side = Literal["input", "output"]


@dataclass(frozen=True)
class IA3Placement(Placement):
    """One vector at one Linear.

    Attributes:
        side: whether it multiplies the input of the Linear or its output (bias included).
        width: its length.
    """

    kind: ClassVar[str] = "ia3"
    side: Side
    width: int

    def count(self) -> int:
        """The vector's length."""
        return self.width

    def build(self, generator: torch.Generator) -> IA3Vector:
        return IA3Vector(self)

    def joins_by(self) -> str | None:
        return ""


class IA3Vector(Rescale):
    """A vector of ones at the start, which is the identity."""

    def __init__(self, placement: IA3Placement) -> None:
        super().__init__()
        self.placement = placement
        self.side = placement.side
        self.value = nn.Parameter(torch.ones(placement.width))


@dataclass(frozen=True, kw_only=True)
class IA3(Method):
    """(IA)3: ``l * K``, ``l * V``, and ``W_down (l * activation)`` in the FFN.

    Vectors multiply the output of the Linear (keys: before rotary positions), except at ``down``,
    where by default the input is scaled, as in the paper. The library `adapters` scales in the FFN
    of bert the output of ``up`` before the activation (``targets=("key", "value", "up")``), in
    that of llama the output of ``down`` (``down_side="output"``).

    Source: Liu et al. 2205.05638.
    """

    kind: ClassVar[str] = "ia3"
    formula: ClassVar[str] = "each target: n_out; down: n_in (n_out with down_side 'output')"
    source: ClassVar[str] = "Liu 2205.05638; as in HF peft with the paper's targets"

    targets: tuple[str, ...] | Domain[tuple[str, ...]] = setting(
        SomeOf(*TARGETS), default=("key", "value", "down"), help="linears that are rescaled"
    )
    down_side: Side | Domain[Side] = setting(
        OneOf("input", "output"),
        default="input",
        help="target down: its input is scaled (the paper), or its output",
    )
    layers: tuple[int, ...] | None | Domain[Any] = setting(
        Layers(), default=None, help="layers in which it is active; None: all"
    )

    def place(self, anatomy: Anatomy) -> Iterator[IA3Placement]:
        targets: tuple[str, ...] = held(self.targets)
        anatomy.check_targets(targets)
        for layer in active_layers(self, anatomy):
            for target, site in anatomy.linears_of(layer, targets):
                side: Side = held(self.down_side) if target == "down" else "output"
                width = site.n_in if side == "input" else site.n_out
                yield IA3Placement(site.address, side, width)

    def normal(self, anatomy: Anatomy) -> Self:
        return self if "down" in held(self.targets) else self.replace(down_side="input")

    def words(self) -> str:
        """For example ``ia3 on key, value, down in layers 0-2``."""
        names = [
            f"{name} output" if name == "down" and self.down_side == "output" else name
            for name in held(self.targets)
        ]
        return f"ia3 on {', '.join(names)}" + place_words(self.layers)
