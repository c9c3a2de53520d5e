"""Makes strands: places draws of methods to learn what each block of layers adds.

That blocks do not depend on each other is checked by placing random mixtures of draws.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture, Placement
from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.draws import at, blocks_of, draws_in, in_block, joined, joint_draws
from peftnas.spaces.sizes.equal_layers import EqualLayers, Looks, looks_of
from peftnas.spaces.sizes.letters import NOTHING, Alphabet, Letter, by_layer, same
from peftnas.spaces.sizes.spelled import Spelled, block_by_block, fills_of, mixtures
from peftnas.spaces.sizes.strands import Block, Fill, Strand
from peftnas.spaces.ties import unshared
from peftnas.spaces.tree_nodes import possible_layers

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_CHECKED = 2


class Strands:
    """Makes strands, by placing draws of methods to learn what each block adds.

    Args:
        bound: the space.
        alphabet: that their letters are of.
    """

    def __init__(self, bound: BoundSpace, alphabet: Alphabet) -> None:
        self._bound, self._alphabet = bound, alphabet
        self._checked: Counter[tuple[Any, ...]] = Counter()
        self._equal = EqualLayers()

    def fixed(self, methods: Sequence[Configurable]) -> Strand:
        """The strand of methods whose layers are known: one block with one fill."""
        placed = self._bound.placed_once(Architecture(*methods))
        parts = by_layer(placed.placements)
        layers = tuple(range(self._bound.anatomy.n_layers))
        letters = tuple(self._alphabet.letter(parts.get(i, ()), layer=i) for i in layers)
        fill = Fill(letters, bool(placed.placements), 0, 1, tuple(methods))
        return Strand(
            self._alphabet.letter(parts.get(None, ())),
            (Block(layers, (fill,)),),
            kinds=frozenset(method.kind for method in placed.architecture.methods),
            across=any(getattr(part, "layers", ()) for part in parts.get(None, ())),
        )

    def open(self, method: Configurable) -> Strand:
        """The strand of one method with layers to be drawn.

        Raises:
            Unstructured: if its layers depend on each other.
        """
        if not hasattr(method, "layers"):
            raise Unstructured  # cannot be looked at in one layer alone
        held = unshared(method.layers)
        n_layers = self._bound.anatomy.n_layers
        blocks = blocks_of(method, possible_layers(held, n_layers))
        if not blocks:
            [(nowhere,)] = joint_draws([method], n_layers)
            return self.fixed([nowhere])
        subset = isinstance(held, Subset)
        if subset and held.max_size is not None:
            raise Unstructured
        method = method.replace(layers=held)

        def drawn(block: tuple[int, ...]) -> list[Configurable]:
            return draws_in(method, block, subset, n_layers)

        strand = self.of(blocks, block_by_block([method], blocks, drawn))
        return dataclasses.replace(
            strand, min_size=held.min_size if subset else 0, kinds=frozenset({method.kind})
        )

    def of(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Strand:
        """The strand of one method, given its draws block by block.

        Raises:
            Unstructured: if blocks depend on each other.
        """
        spelled = self.spelled(blocks, draws)
        fills: dict[int, tuple[Fill, ...]] = {}
        for some, letters, live in zip(draws, spelled.letters, spelled.live, strict=True):
            if id(letters) not in fills:
                fills[id(letters)] = fills_of(some, letters, live)
        made = [
            Block(block, fills[id(letters)])
            for block, letters in zip(blocks, spelled.letters, strict=True)
        ]
        return Strand(spelled.constant, tuple(made), spanning=spelled.spanning)

    def spelled(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Spelled:
        """What draws of one method add, block by block.

        Args:
            blocks: of layers.
            draws: of each block, see :func:`block_by_block`.
        Raises:
            Unstructured: if blocks depend on each other.
        """
        found, looks = None, looks_of(draws[0])
        if len(blocks) > 1 and draws[0] is draws[-1]:
            found = self._at_once(blocks, draws[0], looks)
        if found is None or not self._holds(blocks, found, looks):
            found = self._one_by_one(blocks, draws)
            if not found.spanning and not self._holds(blocks, found, looks):
                raise Unstructured
        return found

    def _at_once(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Configurable], looks: Looks
    ) -> Spelled | None:
        """Each draw placed in all layers at once and read off by address.

        ``None`` where addresses do not tell the whole.

        Args:
            blocks: single layers.
            draws: of any of them.
            looks: of these.
        """
        every = tuple(layer for (layer,) in blocks)
        equal = self._equal.known(every, looks, draws)
        layers = tuple(dict.fromkeys(equal or every))
        outside: list[Placement] | None = None
        letters: list[tuple[Letter, ...]] = []
        for one in draws:
            absent = equal and not one.layers  # type: ignore[attr-defined]
            parts = {} if absent else by_layer(self._place([at(one, layers)]))
            rest = parts.pop(None, [])
            if not parts.keys() <= set(layers):
                return None
            if parts:
                if len(parts) != len(layers) or (outside is not None and not same(rest, outside)):
                    return None
                outside = rest
            elif rest:
                return None
            letters.append(tuple(self._alphabet.letter(parts.get(i, ()), layer=i) for i in layers))
        known: dict[tuple[Letter, ...], dict[Configurable, tuple[Letter, ...]]] = {}
        for here in zip(*letters, strict=True):  # layer by layer
            if here not in known:
                known[here] = {one: (letter,) for one, letter in zip(draws, here, strict=True)}
        live = {
            here: {one: any(word) for one, word in table.items()} for here, table in known.items()
        }
        placed = dict(zip(layers, zip(*letters, strict=True), strict=True))
        columns = [placed[layer] for layer in equal or every]
        if equal is None:
            self._equal.note(every, looks, draws, columns)
        return Spelled(
            self._alphabet.letter(outside or ()),
            [known[here] for here in columns],
            [live[here] for here in columns],
        )

    def _one_by_one(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Spelled:
        """Each draw placed in its own block alone."""
        placed = [
            [(one, self._place([in_block(one, block)])) for one in some]
            for block, some in zip(blocks, draws, strict=True)
        ]
        shown = [parts for some in placed for _, parts in some if parts]
        constant = _common(shown) if len(blocks) > 1 else []
        if sum(any(parts for _, parts in some) for some in placed) == 1:
            # what stands in the only layers that hold anything is not beyond them
            constant = by_layer(constant).get(None, [])
        count = sum(part.count() for part in constant)
        spanning = False
        if len(blocks) > 1:
            fullest = [max(some, key=lambda pair: _count(pair[1])) for some in placed]
            filled = [
                (in_block(one, block), parts)
                for block, (one, parts) in zip(blocks, fullest, strict=True)
                if parts
            ]
            if len(filled) > 1:
                count, spanning = self._together(filled, constant)
        letters = [
            {one: self._spelled(block, parts, constant, count) for one, parts in some}
            for block, some in zip(blocks, placed, strict=True)
        ]
        live = [{one: bool(parts) for one, parts in some} for some in placed]
        return Spelled(self._alphabet.letter(constant, count), letters, live, spanning)

    def _together(
        self, filled: Sequence[tuple[Configurable, list[Placement]]], constant: list[Placement]
    ) -> tuple[int, bool]:
        """Parameters of the constant part, and whether placements span blocks."""
        pair = [filled[0], filled[-1]]
        both = self._place([joined(one for one, _ in pair)])
        every = self._place([joined(one for one, _ in filled)])
        count = sum(_count(parts) for _, parts in pair) - _count(both)
        if _count(every) != count + sum(_count(parts) - count for _, parts in filled):
            raise Unstructured
        for parts, some in ((both, pair), (every, filled)):
            expected = [*constant]
            for _, alone in some:
                expected += _without(alone, constant)
            if not same(parts, expected):
                if constant:
                    raise Unstructured
                return count, True
        return count, False

    def _spelled(
        self,
        block: tuple[int, ...],
        parts: list[Placement],
        constant: list[Placement],
        constant_count: int,
    ) -> tuple[Letter, ...]:
        """The letters of a block; what covers several layers stands in the first of them."""
        if not parts:
            return (NOTHING,) * len(block)
        here = by_layer(_without(parts, constant))
        outside = here.pop(None, [])
        beyond = [layer for layer in here if layer not in block]
        if beyond:
            raise Unstructured
        letters = [self._alphabet.letter(here.get(i, ()), layer=i) for i in block]
        rest = _count(parts) - constant_count - sum(map(self._alphabet.count, letters))
        first = [*here.get(block[0], ()), *outside]
        count = self._alphabet.count(letters[0]) + rest
        letters[0] = self._alphabet.letter(first, count, layer=block[0])
        return tuple(letters)

    def _holds(self, blocks: Sequence[tuple[int, ...]], spelled: Spelled, looks: Looks) -> bool:
        """Whether mixtures of draws place what their letters say, random ones and lone blocks.

        Methods that differ in sizes alone are taken to be alike: a few of them are looked at.
        """
        self._checked[looks] += 1
        if self._checked[looks] > _CHECKED:
            return True
        for every in mixtures(spelled):
            placed = [in_block(one, block) for one, block in zip(every, blocks, strict=True)]
            drawn = [one for one in placed if one.layers]  # type: ignore[attr-defined]
            parts = by_layer(self._place([joined(drawn or placed[:1])]))
            live = any(live[one] for live, one in zip(spelled.live, every, strict=True))
            for block, known, one in zip(blocks, spelled.letters, every, strict=True):
                for layer, letter in zip(block, known[one], strict=True):
                    if self._alphabet.letter(parts.pop(layer, ()), layer=layer) != letter:
                        return False
            constant = spelled.constant if live else NOTHING
            if self._alphabet.letter(parts.pop(None, ())) != constant or parts:
                return False
        return True

    def _place(self, methods: Sequence[Configurable]) -> list[Placement]:
        return list(self._bound.placed_once(Architecture(*methods)).placements)


def _common(shown: Sequence[list[Placement]]) -> list[Placement]:
    """The placements that all have, each as often as all have it."""
    if not shown:
        return []
    common = list(shown[0])
    for parts in shown[1:]:
        left = list(parts)
        common = [part for part in common if part in left and not left.remove(part)]  # type: ignore[func-returns-value]
    return common


def _without(parts: Iterable[Placement], taken: Iterable[Placement]) -> list[Placement]:
    left = list(parts)
    for part in taken:
        left.remove(part)
    return left


def _count(parts: Iterable[Placement]) -> int:
    return sum(part.count() for part in parts)
