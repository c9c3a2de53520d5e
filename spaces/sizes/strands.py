"""Strands: what methods with open layers can place, block of layers by block of layers.

Layers that share a ``PerGroup`` draw form one block; otherwise each layer is one. What is placed
in a block must not depend on the other blocks, apart from a constant part that is there as soon
as one block is active (bias vectors outside the layers, a network shared by them). This is checked
by placing blocks together.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture, Placement
from peftnas.spaces.domains import Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.letters import NOTHING, Alphabet, Letter, by_layer, same
from peftnas.spaces.structure import ByLayer, PerGroup, PerLayer
from peftnas.spaces.ties import unshared
from peftnas.spaces.tree import Walk
from peftnas.spaces.tree_nodes import Leaf, possible_layers

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_FILLS = 5_000
_MIXTURES = 3
_CHECKED = 2

Methods = tuple[Configurable | None, ...]


@dataclass(frozen=True)
class Fill:
    """One way to fill a block.

    Attributes:
        letters: for each layer of the block, what is placed beyond the constant part.
        live: whether anything is placed, so that the constant part is there too.
        drawn: layers (or groups) drawn, whether or not something is placed in them.
        weight: draws that give this.
        methods: of one such draw, each in the layers of the block; ``None``: absent here.
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
    """Contiguous layers that are filled at once."""

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


def joined(methods: Iterable[Configurable]) -> Configurable:
    """One method from its draws in several blocks."""
    first, *others = methods
    if not others:
        return first
    changes: dict[str, Any] = {
        "layers": tuple(sorted(i for one in (first, *others) for i in one.layers))  # type: ignore[attr-defined]
    }
    for name in settings(type(first)):
        tables = [getattr(one, name) for one in (first, *others)]
        if any(isinstance(table, ByLayer) for table in tables):
            known = [table for table in tables if isinstance(table, ByLayer)]
            changes[name] = ByLayer({i: v for table in known for i, v in table.items()})
    return first.replace(**changes)


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
        blocks = _blocks(method, possible_layers(held, n_layers), n_layers)
        subset = isinstance(held, Subset)
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
        if all(len(block) == 1 for block in blocks) and len(blocks) > 1:
            found = self._at_once(blocks, draws)
            if found is not None:
                return found
        return self._one_by_one(blocks, draws)

    def _at_once(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Strand | None:
        """Each draw placed in all layers at once and read off by address.

        ``None`` where layers differ in their draws, or addresses do not tell the whole.
        """
        n = len(draws[0])
        if any(len(some) != n for some in draws):
            return None
        columns = [[_shifted(draws[0][i], block[0]) for block in blocks] for i in range(n)]
        if any(columns[i][-1] != draws[-1][i] for i in range(n)):
            return None
        outside: list[Placement] | None = None
        letters: list[list[Letter]] = []
        for column in columns:
            drawn = [one for one in column if one.layers]  # type: ignore[attr-defined]
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
        strand = Strand(
            self._alphabet.letter(outside or ()),
            tuple(
                Block(block, _fills([((letters[i][b],), columns[i][b]) for i in range(n)]))
                for b, block in enumerate(blocks)
            ),
        )
        return strand if self._holds(strand) else None

    def _one_by_one(
        self, blocks: Sequence[tuple[int, ...]], draws: Sequence[Sequence[Configurable]]
    ) -> Strand:
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
        made = []
        for block, some in zip(blocks, placed, strict=True):
            spelled = [(self._spelled(block, parts, constant, count), one) for one, parts in some]
            live = [bool(parts) for _, parts in some]
            made.append(Block(block, _fills(spelled, live)))
        strand = Strand(self._alphabet.letter(constant, count), tuple(made), spanning=spanning)
        if not spanning and not self._holds(strand):
            raise Unstructured
        return strand

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

    def _holds(self, strand: Strand) -> bool:
        """Whether random mixtures of fills place what their letters say.

        Methods that differ in sizes alone are taken to be alike: a few of them are looked at.
        """
        looks = tuple(
            look for fill in strand.blocks[0].fills for one in fill.methods if (look := _look(one))
        )[:4]
        self._checked[looks] += 1
        if self._checked[looks] > _CHECKED:
            return True
        rng = random.Random(0)
        for _ in range(_MIXTURES):
            fills = [rng.choice(block.fills) for block in strand.blocks]
            every = [one for fill in fills for one in fill.methods if one is not None]
            drawn = [one for one in every if one.layers]  # type: ignore[attr-defined]
            parts = by_layer(self._place([joined(drawn or every[:1])]))
            live = any(fill.live for fill in fills)
            for block, fill in zip(strand.blocks, fills, strict=True):
                for layer, letter in zip(block.layers, fill.letters, strict=True):
                    if self._alphabet.letter(parts.pop(layer, ())) != letter:
                        return False
            constant = strand.constant if live else NOTHING
            if self._alphabet.letter(parts.pop(None, ())) != constant or parts:
                return False
        return True

    def _place(self, methods: Sequence[Configurable]) -> list[Placement]:
        return list(self._bound.placed_once(Architecture(*methods)).placements)


def draws_in(
    method: Configurable, block: tuple[int, ...], subset: bool, n_layers: int
) -> list[Configurable]:
    """Every draw in one block, the other layers left out."""
    if len(block) == 1 and not _differs_by_layer(method):
        drawn = [method.replace(layers=block)]
        return [method.replace(layers=()), *drawn] if subset else drawn
    leaf = Leaf("block", method.replace(layers=Subset(*block, min_size=0) if subset else block))

    def run(choose: Any) -> Configurable:
        return Walk(choose, n_layers, None).method(leaf)

    drawn = list(islice(walks(run), _FILLS + 1))
    if len(drawn) > _FILLS:
        raise Unstructured
    return drawn


def _fills(
    spelled: Sequence[tuple[tuple[Letter, ...], Configurable]], live: Sequence[bool] | None = None
) -> tuple[Fill, ...]:
    """Draws of a block, those alike put together."""
    found: dict[tuple[tuple[Letter, ...], bool, int], tuple[int, Configurable]] = {}
    for i, (letters, method) in enumerate(spelled):
        placing = any(letters) if live is None else live[i]
        key = (letters, placing, len(method.layers))  # type: ignore[attr-defined]
        weight, first = found.get(key, (0, method))
        found[key] = (weight + 1, first)
    return tuple(Fill(*key, weight, (one,)) for key, (weight, one) in found.items())


def _look(method: Configurable | None) -> tuple[Any, ...]:
    """A method without its sizes and layers."""
    if method is None:
        return ()
    declared = settings(type(method))
    held = (
        getattr(method, name) for name in declared if name != "layers" and not declared[name].size
    )
    return (method.kind, *("by layer" if isinstance(one, ByLayer) else one for one in held))


def _differs_by_layer(method: Configurable) -> bool:
    return any(
        isinstance(getattr(method, name), PerLayer | PerGroup) for name in settings(type(method))
    )


def _shifted(method: Configurable, layer: int) -> Configurable:
    """A draw in one layer, moved to another one."""
    changes: dict[str, Any] = {"layers": (layer,) if method.layers else ()}  # type: ignore[attr-defined]
    for name in settings(type(method)):
        held = getattr(method, name)
        if isinstance(held, ByLayer) and len(held.layers) == 1:
            changes[name] = ByLayer({layer: held[held.layers[0]]})
    return method.replace(**changes)


def _blocks(
    method: Configurable, layers: tuple[int, ...], n_layers: int
) -> tuple[tuple[int, ...], ...]:
    """The layers, those joined that share a group of some field."""
    group = {layer: {layer} for layer in layers}
    for name in settings(type(method)):
        held = getattr(method, name)
        if isinstance(held, PerGroup):
            for one in layers:
                for other in layers:
                    if held.group_of(one, n_layers) == held.group_of(other, n_layers):
                        both = group[one] | group[other]
                        for layer in both:
                            group[layer] = both
    return tuple(sorted({tuple(sorted(both)) for both in group.values()}))


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
