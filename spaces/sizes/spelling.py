"""Makes strands: places draws of methods to learn what each block of layers adds.

That blocks do not depend on each other is checked by placing random mixtures of draws.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture, Placement
from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.draws import blocks_of, draws_in, joined, shifted
from peftnas.spaces.sizes.letters import NOTHING, Alphabet, Letter, by_layer, same
from peftnas.spaces.sizes.strands import Block, Fill, Strand
from peftnas.spaces.structure import ByLayer
from peftnas.spaces.ties import unshared
from peftnas.spaces.tree_nodes import possible_layers

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_MIXTURES = 3
_CHECKED = 2


@dataclass(frozen=True)
class Spelled:
    """What the draws of one method add, block by block.

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


class Strands:
    """Makes strands, by placing draws of methods to learn what each block adds.

    Args:
        bound: the space.
        alphabet: that their letters are of.
    """

    def __init__(self, bound: BoundSpace, alphabet: Alphabet) -> None:
        self._bound, self._alphabet = bound, alphabet
        self._checked: Counter[tuple[Any, ...]] = Counter()

    def fixed(self, methods: Sequence[Configurable]) -> Strand:
        """The strand of methods whose layers are known: one block with one fill."""
        placed = self._bound.placed_once(Architecture(*methods))
        parts = by_layer(placed.placements)
        layers = tuple(range(self._bound.anatomy.n_layers))
        letters = tuple(self._alphabet.letter(parts.get(layer, ())) for layer in layers)
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
        subset = isinstance(held, Subset)
        if subset and held.max_size is not None:
            raise Unstructured
        draws = [
            draws_in(method.replace(layers=held), block, subset, n_layers) for block in blocks
        ]
        strand = self.of(blocks, draws)
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
        made = [
            Block(block, _fills(some, letters, live))
            for block, some, letters, live in zip(
                blocks, draws, spelled.letters, spelled.live, strict=True
            )
        ]
        return Strand(spelled.constant, tuple(made), spanning=spelled.spanning)

    def spelled(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Spelled:
        """What draws of one method add, block by block.

        Raises:
            Unstructured: if blocks depend on each other.
        """
        found = None
        if all(len(block) == 1 for block in blocks) and len(blocks) > 1:
            found = self._at_once(blocks, draws)
        if found is None or not self._holds(blocks, found):
            found = self._one_by_one(blocks, draws)
            if not found.spanning and not self._holds(blocks, found):
                raise Unstructured
        return found

    def _at_once(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Spelled | None:
        """Each draw placed in all layers at once and read off by address.

        ``None`` where layers differ in their draws, or addresses do not tell the whole.
        """
        n = len(draws[0])
        if any(len(some) != n for some in draws):
            return None
        last = blocks[-1][0]
        if any(shifted(draws[0][i], last) != draws[-1][i] for i in range(n)):
            return None
        columns = list(zip(*draws, strict=True))
        outside: list[Placement] | None = None
        letters: list[list[Letter]] = []
        for column in columns:
            drawn = [one for one in column if one.layers]
            parts = by_layer(self._place([joined(drawn or column[:1])]))
            rest = parts.pop(None, [])
            if not parts.keys() <= {block[0] for block in blocks}:
                return None
            if parts:
                if len(parts) != len(blocks) or (outside is not None and not same(rest, outside)):
                    return None
                outside = rest
            elif rest:
                return None
            letters.append([self._alphabet.letter(parts.get(b[0], ())) for b in blocks])
        spelling: list[dict[Configurable, tuple[Letter, ...]]] = [
            {columns[i][b]: (letters[i][b],) for i in range(n)} for b in range(len(blocks))
        ]
        return Spelled(self._alphabet.letter(outside or ()), spelling, _live(spelling))

    def _one_by_one(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Spelled:
        """Each draw placed in its own block alone."""
        placed = [[(one, self._place([one])) for one in some] for some in draws]
        shown = [parts for some in placed for _, parts in some if parts]
        constant = _common(shown) if len(blocks) > 1 else []
        count = sum(part.count() for part in constant)
        spanning = False
        if len(blocks) > 1:
            fullest = [max(some, key=lambda pair: _count(pair[1])) for some in placed]
            filled = [pair for pair in fullest if pair[1]]
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
        letters = [self._alphabet.letter(here.get(layer, ())) for layer in block]
        rest = _count(parts) - constant_count - sum(map(self._alphabet.count, letters))
        first = [*here.get(block[0], ()), *outside]
        letters[0] = self._alphabet.letter(first, self._alphabet.count(letters[0]) + rest)
        return tuple(letters)

    def _holds(self, blocks: Sequence[tuple[int, ...]], spelled: Spelled) -> bool:
        """Whether mixtures of draws place what their letters say, random ones and lone blocks.

        Methods that differ in sizes alone are taken to be alike: a few of them are looked at.
        """
        looks = tuple(dict.fromkeys(map(_look, itertools.islice(spelled.letters[0], 4))))
        self._checked[looks] += 1
        if self._checked[looks] > _CHECKED:
            return True
        for every in _mixtures(spelled):
            drawn = [one for one in every if one.layers]  # type: ignore[attr-defined]
            parts = by_layer(self._place([joined(drawn or every[:1])]))
            live = any(live[one] for live, one in zip(spelled.live, every, strict=True))
            for block, known, one in zip(blocks, spelled.letters, every, strict=True):
                for layer, letter in zip(block, known[one], strict=True):
                    if self._alphabet.letter(parts.pop(layer, ())) != letter:
                        return False
            constant = spelled.constant if live else NOTHING
            if self._alphabet.letter(parts.pop(None, ())) != constant or parts:
                return False
        return True

    def _place(self, methods: Sequence[Configurable]) -> list[Placement]:
        return list(self._bound.placed_once(Architecture(*methods)).placements)


def _fills(
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


def _live(
    letters: Sequence[Mapping[Configurable, tuple[Letter, ...]]],
) -> list[dict[Configurable, bool]]:
    """What places something in its block, where all that is placed stands in layers."""
    return [{one: any(word) for one, word in known.items()} for known in letters]


def _mixtures(spelled: Spelled) -> Iterator[list[Configurable]]:
    """A draw of each block: at random; then the last block alone, and all but the first."""
    rng = random.Random(0)
    for _ in range(_MIXTURES):
        yield [rng.choice(list(some)) for some in spelled.live]
    empty = [min(some, key=some.__getitem__) for some in spelled.live]
    full = [max(some, key=some.__getitem__) for some in spelled.live]
    yield [*empty[:-1], full[-1]]
    yield [empty[0], *full[1:]]


def _look(method: Configurable) -> tuple[Any, ...]:
    """A method without its sizes and layers."""
    declared = settings(type(method))
    held = (
        getattr(method, name) for name in declared if name != "layers" and not declared[name].size
    )
    return (method.kind, *("by layer" if isinstance(one, ByLayer) else one for one in held))


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
