"""Strands: what methods with open layers can place, block of layers by block of layers.

Layers that share a ``PerGroup`` draw form one block; otherwise each layer is one. What is placed
in a block must not depend on the other blocks, apart from a constant part that is there as soon
as one block is active (bias vectors outside the layers, a network shared by them).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.letters import Letter

Methods = tuple[Configurable | None, ...]


@dataclass(frozen=True)
class Fill:
    """One way to fill a block.

    Attributes:
        letters: for each layer of the block, what is placed beyond the constant part.
        live: whether anything is placed, so that the constant part is there too.
        drawn: layers (or groups) drawn, whether or not something is placed in them.
        weight: draws that give this.
        methods: of one such draw, each in the layers of the block, or where blocks are single
            layers in any one of them; ``None``: absent here.
        covers: kinds of methods that are drawn here, where a strand asks for them.
    """

    letters: tuple[Letter, ...]
    live: bool
    drawn: int
    weight: int = field(compare=False)
    methods: Methods = field(compare=False)
    covers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Block:
    """Contiguous layers that are filled at once.

    Blocks that can be filled alike share their ``fills``: what is worked out of the one is kept by
    the identity of these for the others.
    """

    layers: tuple[int, ...]
    fills: tuple[Fill, ...]


@dataclass(frozen=True)
class Strand:
    """All that some methods can place under one assignment of what they share.

    Attributes:
        constant: what is placed as soon as one block is live.
        blocks: in ascending order.
        min_size: fewest layers (or groups) that must be drawn.
        required: kinds of methods that must be drawn somewhere.
        kinds: of the methods.
        spanning: whether a placement covers several layers, so that the letters of the blocks
            only stand for it.
        across: whether what stands outside of the layers acts in some of them.
    """

    constant: Letter
    blocks: tuple[Block, ...]
    min_size: int = 0
    required: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    spanning: bool = False
    across: bool = False
