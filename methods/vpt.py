"""Visual prompt tuning: prompts among the patches, at the first layer or anew at every layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from peftnas.methods.base import LayerPrompts, Method, Placement
from peftnas.methods.layers import active_layers, place_words
from peftnas.methods.linears import layers_setting
from peftnas.methods.prompt import EnteringPrompt, PromptPlacement, prompted_stack
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Configurable, OneOf, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


@dataclass(frozen=True)
class VPTPlacement(Placement):
    """All prompts of one VPT.

    Attributes:
        length: l, how many positions they take.
        entry_width: width of the embeddings, which the first vectors have.
        width: width d of the residual stream.
        layers: layers that get new vectors, ascending; the lowest of the stack is the first.
        stack: number of the stack that they enter.
        entry: where; "word_embeddings" where these are the whole embedding layer.
    """

    kind: ClassVar[str] = "vpt"
    length: int
    entry_width: int
    width: int
    layers: tuple[int, ...]
    stack: int
    entry: Literal["word_embeddings", "hidden"]

    def count(self) -> int:
        """l*d a layer."""
        return self.length * (self.entry_width + (len(self.layers) - 1) * self.width)

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """Where no later layer reads others, a prompt after the first token."""
        if len(self.layers) > 1:
            return (self,)
        length, width = self.length, self.entry_width
        return (PromptPlacement(self.site, length, width, self.entry, "after_first", self.stack),)

    def build(self, generator: torch.Generator) -> VisualPrompts:
        return VisualPrompts(self, generator)


class VisualPrompts(LayerPrompts):
    """Vectors (l, d) a layer, uniform in +- sqrt(3 / d): of variance 1 / d."""

    def __init__(self, placement: VPTPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.entry = placement.entry
        self.position = "after_first"
        self.layers = placement.layers[1:]
        widths = [placement.entry_width] + [placement.width] * len(self.layers)
        self.vectors = nn.ParameterList(
            (2 * torch.rand(placement.length, width, generator=generator) - 1)
            * math.sqrt(3 / width)
            for width in widths
        )

    def forward(self) -> Tensor:
        """Those of the first layer, (l, d)."""
        first: Tensor = self.vectors[0]
        return first

    def at_layer(self, layer: int) -> Tensor:
        """Those that a later layer reads instead, (l, d)."""
        here: Tensor = self.vectors[self.placement.layers.index(layer)]
        return here


@dataclass(frozen=True, kw_only=True)
class VPT(Method):
    """VPT: l trained vectors right after the first token (CLS), without positions.

    - shallow: they enter the first layer and pass through all;
    - deep: each active layer reads vectors of its own in their place, and what the layer before
      made of the former ones is dropped. In a layer that is not active they pass through.

    The first layer of their stack, where they enter, is always one of ``layers``, named or not;
    with no layers at all there are no prompts. For texts too, where a backbone has an embedding
    layer; in a decoder real tokens behind them see them.

    Source: Jia et al. 2203.12119; subsets of layers: NOAH, Zhang et al. 2206.04673.
    """

    kind: ClassVar[str] = "vpt"
    formula: ClassVar[str] = "length * d; deep: for each layer"
    source: ClassVar[str] = "Jia 2203.12119"

    length: int | Domain[int] = setting(
        Whole(0), default=10, size=True, help="vectors l put in; 0 = absent"
    )
    deep: bool | Domain[bool] = setting(
        OneOf(True, False), default=True, help="new vectors at each layer, or at the first alone"
    )
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[VPTPlacement]:
        length = held(self.length)
        if not length:
            return
        number = self._stack(anatomy)
        stack = anatomy.stacks[number]
        first, *later = stack.layers
        active = active_layers(self, anatomy)
        if first not in active and not any(layer in active for layer in later):
            return
        anew = [layer for layer in later if layer in active] if held(self.deep) else []
        yield VPTPlacement(
            f"{stack.prefix}embeddings",
            length,
            stack.embedding_width,
            anatomy.layers[first].width,
            (first, *anew),
            number,
            "word_embeddings" if stack.word_embeddings == stack.embeddings else "hidden",
        )

    def _stack(self, anatomy: Anatomy) -> int:
        """The stack that reads images; without one, that of a prompt."""
        for number, stack in enumerate(anatomy.stacks):
            if stack.patches is not None:
                return number
        number = prompted_stack(anatomy)
        stack = anatomy.stacks[number]
        if stack.embeddings is None:
            other = "Prefix" if stack.word_embeddings is None else "Prompt"
            raise ValueError(
                f"no module of a {anatomy.model_type} backbone is its whole embedding layer, so "
                f"VPT cannot enter after it; leave the method out, or take {other}"
            )
        return number

    def normal(self, anatomy: Anatomy) -> VPT:
        """Shallow prompts, and deep ones in the first layer alone, are the same."""
        [placement] = self.place(anatomy)
        if len(placement.layers) == 1:
            return self.replace(deep=False, layers=None)
        return self.replace(layers=placement.layers)

    def clash(self, other: Configurable) -> str | None:
        """All prompts enter together, as one kind."""
        if isinstance(other, VPT | EnteringPrompt):
            return (
                "VPT is the only prompt of an architecture, got "
                f"{'another VPT' if isinstance(other, VPT) else type(other).__name__} beside it; "
                "keep one"
            )
        return None

    def words(self) -> str:
        """For example ``vpt deep length 10 in layers 0-2``."""
        return f"vpt {'deep' if self.deep else 'shallow'} length {self.length}" + place_words(
            self.layers
        )
