"""What the draws of a method add block by block, and what these are put together to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.draws import can_move
from peftnas.spaces.sizes.letters import Letter
from peftnas.spaces.sizes.strands import Fill

T = TypeVar("T")

_MIXTURES = 3


@dataclass(frozen=True)
class Spelled:
    """What the draws of one method add, block by block.

    Blocks in which the same draws have the same letters share their table.

    Attributes:
        constant: what is placed as soon as one block is live.
        letters: for each block, the letters of each draw beyond that.
        live: for each block, whether a draw places anything.
        spanning: as of a :class:`Strand`.
    """

    constant: Letter
    letters: list[dict[Configurable, tuple[Letter, ...]]]
    live: list[dict[Configurable, bool]]
    spanning: bool = False


def block_by_block(
    methods: Sequence[Configurable],
    blocks: Sequence[tuple[int, ...]],
    drawn: Callable[[tuple[int, ...]], list[T]],
) -> list[list[T]]:
    """The draws of some methods in each block.

    Single layers have one list between them, of draws in the first of them; :func:`in_block`
    moves these to another one.
    """
    if all(len(block) == 1 for block in blocks) and all(map(can_move, methods)):
        return [drawn(blocks[0])] * len(blocks)
    return [drawn(block) for block in blocks]


def fills_of(
    draws: Sequence[Configurable],
    letters: Mapping[Configurable, tuple[Letter, ...]],
    live: Mapping[Configurable, bool],
) -> tuple[Fill, ...]:
    """Draws of a block, those alike put together."""
    found: dict[tuple[tuple[Letter, ...], bool, int], tuple[int, Configurable]] = {}
    for method in draws:
        key = (letters[method], live[method], len(method.layers))  # type: ignore[attr-defined]
        weight, first = found.get(key, (0, method))
        found[key] = (weight + 1, first)
    return tuple(Fill(*key, weight, (one,)) for key, (weight, one) in found.items())


def mixtures(spelled: Spelled) -> Iterator[list[Configurable]]:
    """A draw of each block: at random; then the last block alone, and all but the first."""
    rng = random.Random(0)
    for _ in range(_MIXTURES):
        yield [rng.choice(list(some)) for some in spelled.live]
    empty = [min(some, key=some.__getitem__) for some in spelled.live]
    full = [max(some, key=some.__getitem__) for some in spelled.live]
    yield [*empty[:-1], full[-1]]
    yield [empty[0], *full[1:]]
