"""Visual prompt tuning: prompts among the patches, at the first layer or anew at every layer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from peftnas.methods.base import LayerPrompts, Method, Placement, PromptVectors
from peftnas.methods.layers import active_layers, layer_of, place_words, value_words
from peftnas.methods.linears import layers_setting
from peftnas.methods.prompt import EnteringPrompt, PromptPlacement, prompted_stack
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Configurable, OneOf, Whole, held, held_at, setting
from peftnas.spaces.structure import ByLayer

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy
    from peftnas.methods.sites import StackSite


@dataclass(frozen=True)
class VPTPlacement(Placement):
    """The prompts that one layer reads.

    Attributes:
        length: l, how many positions they take.
        width: of the embeddings in the first layer of the stack, of the residual stream in others.
        stack: number of the stack that they enter.
        entry: of the first layer: where they enter; "word_embeddings" where these are the whole
            embedding layer. ``None``: a later layer, where they replace those before.
    """

    kind: ClassVar[str] = "vpt"
    length: int
    width: int
    stack: int
    entry: Literal["word_embeddings", "hidden"] | None

    def count(self) -> int:
        """l*d."""
        return self.length * self.width

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """In the first layer, a prompt after the first token."""
        if self.entry is None:
            return (self,)
        site = f"{anatomy.stacks[self.stack].prefix}embeddings"
        return (
            PromptPlacement(site, self.length, self.width, self.entry, "after_first", self.stack),
        )

    def build(self, generator: torch.Generator) -> EnteringPrompts | LaterPrompts:
        return (LaterPrompts if self.entry is None else EnteringPrompts)(self, generator)


class EnteringPrompts(PromptVectors):
    """Vectors (l, d) of the first layer, uniform in +- sqrt(3 / d): of variance 1 / d."""

    def __init__(self, placement: VPTPlacement, generator: torch.Generator) -> None:
        super().__init__()
        assert placement.entry is not None
        self.placement = placement
        self.entry = placement.entry
        self.position = "after_first"
        self.vectors = _vectors(placement, generator)

    def forward(self) -> Tensor:
        return self.vectors


class LaterPrompts(LayerPrompts):
    """Vectors (l, d) of a later layer, drawn likewise."""

    def __init__(self, placement: VPTPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.layer = layer_of(placement.site)
        self.vectors = _vectors(placement, generator)

    def forward(self) -> Tensor:
        return self.vectors


def _vectors(placement: VPTPlacement, generator: torch.Generator) -> nn.Parameter:
    drawn = 2 * torch.rand(placement.length, placement.width, generator=generator) - 1
    return nn.Parameter(drawn * math.sqrt(3 / placement.width))


@dataclass(frozen=True, kw_only=True)
class VPT(Method):
    """VPT: l trained vectors right after the first token (CLS), without positions.

    - shallow: they enter the first layer and pass through all;
    - deep: each active layer reads vectors of its own in their place, and what the layer before
      made of the former ones is dropped. In a layer that is not active they pass through.

    The first layer of their stack, where they enter, is always one of ``layers``, named or not (of
    lengths layer by layer it then has that of the lowest layer named); with no layers at all there
    are no prompts. Lengths may differ by layer where tokens have no positions but those added to
    their embeddings and see each other: images, and encoders such as bert. For texts too, where a
    backbone has an embedding layer; in a decoder real tokens behind them see them.

    Source: Jia et al. 2203.12119; subsets of layers: NOAH, Zhang et al. 2206.04673.
    """

    kind: ClassVar[str] = "vpt"
    formula: ClassVar[str] = "length * d; deep: for each layer"
    source: ClassVar[str] = "Jia 2203.12119"

    length: int | Domain[int] | ByLayer[int] = setting(
        Whole(0), default=10, by_layer=True, size=True, help="vectors l put in; 0 = absent"
    )
    deep: bool | Domain[bool] = setting(
        OneOf(True, False), default=True, help="new vectors at each layer, or at the first alone"
    )
    layers: tuple[int, ...] | None | Domain[Any] = layers_setting()

    def place(self, anatomy: Anatomy) -> Iterator[VPTPlacement]:
        lengths = self._lengths(anatomy)
        if not lengths:
            return
        number = self._stack(anatomy)
        stack = anatomy.stacks[number]
        if len(set(lengths.values())) > 1:
            _check_free(anatomy, stack)
        for layer, length in lengths.items():
            width, entry = anatomy.layers[layer].width, None
            if layer == stack.layers[0]:
                width = stack.embedding_width
                entry = _entry(stack)
            yield VPTPlacement(f"layers[{layer}].prompts", length, width, number, entry)

    def _lengths(self, anatomy: Anatomy) -> dict[int, int]:
        """Of each layer that reads vectors of its own, ascending."""
        if not isinstance(self.length, ByLayer) and not held(self.length):
            return {}
        layers = anatomy.stacks[self._stack(anatomy)].layers
        found: dict[int, int] = {
            layer: length
            for layer in active_layers(self, anatomy)
            if layer in layers and (length := held_at(self.length, layer))
        }
        if not found:
            return {}
        first = next(iter(found.values()))
        return {layers[0]: first} | (found if held(self.deep) else {})

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
        lengths = self._lengths(anatomy)
        (first, length), *others = lengths.items()
        if not others:
            return self.replace(length=length, deep=False, layers=None)
        if isinstance(self.length, ByLayer):
            return self.replace(length=ByLayer(lengths), layers=tuple(lengths))
        return self.replace(layers=tuple(lengths))

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
        return f"vpt {'deep' if self.deep else 'shallow'} length {value_words(self.length)}" + (
            place_words(self.layers)
        )


def _entry(stack: StackSite) -> Literal["word_embeddings", "hidden"]:
    return "word_embeddings" if stack.word_embeddings == stack.embeddings else "hidden"


def _check_free(anatomy: Anatomy, stack: StackSite) -> None:
    """Raise ValueError where tokens cannot come and go between layers."""
    if stack.causal or anatomy.positions != "learned":
        raise ValueError(
            "VPT needs one length for all layers where tokens are masked by their order or have "
            f"positions in every layer, got lengths that differ on a {anatomy.model_type} "
            "backbone; hold one length"
        )
