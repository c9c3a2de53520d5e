"""From one assignment of the shared fields to its strands."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.sizes.assign import (
    Assignment,
    Grouping,
    Unstructured,
    is_open,
    methods_of,
)
from peftnas.spaces.sizes.draws import can_move, joint_draws
from peftnas.spaces.sizes.letters import NOTHING, Alphabet, Letter
from peftnas.spaces.sizes.looks import placing
from peftnas.spaces.sizes.spelled import Spelled, block_by_block
from peftnas.spaces.sizes.spelling import Strands
from peftnas.spaces.sizes.strands import Block, Fill, Strand
from peftnas.spaces.structure import PerGroup
from peftnas.spaces.ties import Shared, unshared
from peftnas.spaces.tree_nodes import differs_by_layer

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


class Boxes:
    """Makes strands; those of a method are kept, since many assignments share methods.

    Args:
        bound: the space.
        alphabet: that their letters are of.
        apart: whether methods place together just what each places alone.
    """

    def __init__(self, bound: BoundSpace, alphabet: Alphabet, apart: bool) -> None:
        self._bound, self._alphabet, self._apart = bound, alphabet, apart
        self._made = Strands(bound, alphabet)
        self._known: dict[Any, Strand] = {}
        self._words: dict[Any, Spelled] = {}
        self._draws: dict[Any, list[tuple[Configurable, ...]]] = {}

    def strands(self, assignment: Assignment) -> tuple[Strand, ...]:
        """The strands of an assignment.

        Raises:
            Unstructured: if what they place depends on each other.
        """
        methods = [part for part in assignment.parts if not isinstance(part, Grouping)]
        if not self._apart and len(assignment.methods) > 1:
            if any(isinstance(part, Grouping) for part in assignment.parts) or any(
                map(is_open, methods)
            ):
                raise Unstructured
            return (self._made.fixed(methods),)
        _check_tied_by_layer(assignment)
        fixed = [method for method in methods if not is_open(method)]
        strands = [self._strand(method) for method in fixed]
        shared: dict[str, list[Configurable]] = {}
        for method in methods:
            if not is_open(method):
                continue
            layers = getattr(method, "layers", None)
            if isinstance(layers, Shared):
                shared.setdefault(layers.name, []).append(method)
            else:
                strands.append(self._strand(method))
        strands += [self._in_step(some) for some in shared.values()]
        strands += [
            self._grouping(part) for part in assignment.parts if isinstance(part, Grouping)
        ]
        for one, other in itertools.combinations(strands, 2):
            # letters of modules over several layers do not say which of two they belong to
            if one.kinds & other.kinds and (one.spanning or other.spanning):
                raise Unstructured
        return tuple(strands)

    def _strand(self, method: Configurable) -> Strand:
        if method not in self._known:
            made = self._made
            self._known[method] = made.open(method) if is_open(method) else made.fixed([method])
        return self._known[method]

    def _in_step(self, methods: Sequence[Configurable]) -> Strand:
        """The strand of methods that share one draw of layers."""
        strands = [self._strand(method) for method in methods]
        if len(strands) == 1:
            return strands[0]
        first = strands[0]
        if any(strand.spanning or strand.constant != NOTHING for strand in strands):
            raise Unstructured
        layers = [block.layers for block in first.blocks]
        if any([block.layers for block in strand.blocks] != layers for strand in strands):
            raise Unstructured
        fills: dict[tuple[int, ...], tuple[Fill, ...]] = {}
        blocks = []
        for number, at in enumerate(layers):
            choices = [strand.blocks[number].fills for strand in strands]
            alike = tuple(map(id, choices))
            if alike not in fills:
                fills[alike] = tuple(
                    self._both(some)
                    for some in itertools.product(*choices)
                    if len({fill.drawn for fill in some}) == 1
                )
            blocks.append(Block(at, fills[alike]))
        kinds = frozenset().union(*(strand.kinds for strand in strands))
        return Strand(NOTHING, tuple(blocks), first.min_size, kinds=kinds)

    def _both(self, fills: Sequence[Fill]) -> Fill:
        letters = list(fills[0].letters)
        weight = fills[0].weight
        for fill in fills[1:]:
            letters = [
                self._alphabet.join(one, other)
                for one, other in zip(letters, fill.letters, strict=True)
            ]
            weight *= fill.weight
        live = any(fill.live for fill in fills)
        methods = tuple(method for fill in fills for method in fill.methods)
        return Fill(tuple(letters), live, fills[0].drawn, weight, methods)

    def _grouping(self, part: Grouping) -> Strand:
        """The strand of a ``Grouped`` item."""
        item = part.node.item
        blocks = _blocks(part)
        for method in part.methods:
            _check_groups(method, blocks)
        found = [self._spelled(method, part, blocks) for method in part.methods]
        constant: Letter = NOTHING
        for spelled in found:
            idle = not all(live for some in spelled.live for live in some.values())
            if spelled.spanning or (idle and spelled.constant != NOTHING):
                raise Unstructured
            constant = self._alphabet.join(constant, spelled.constant)
        tuned: Any = unshared(item.tuned)
        known: dict[tuple[Any, ...], tuple[Fill, ...]] = {}
        made = []
        for group, block in enumerate(blocks):
            may = tuned is None or group in tuned.items
            alike = (may, len(block), *(id(spelled.letters[group]) for spelled in found))
            if alike not in known:
                fills = self._tuned(part, group, found, blocks) if may else []
                if tuned is not None:
                    weight = len(item.choices) if item.draw_all else 1
                    nothing = (NOTHING,) * len(block)
                    fills.append(Fill(nothing, False, 0, weight, (None,) * len(part.labels)))
                known[alike] = tuple(fills)
            made.append(Block(block, known[alike]))
        least, most = (0, None) if tuned is None else (tuned.min_size, tuned.max_size)
        if most is not None:
            raise Unstructured
        kinds = frozenset(method.kind for method in part.methods)
        return Strand(constant, tuple(made), least, frozenset(part.labels), kinds)

    def _spelled(
        self, method: Configurable, part: Grouping, blocks: Sequence[tuple[int, ...]]
    ) -> Spelled:
        """What the draws of one method in each group add."""
        key = (method, tuple(blocks), all(map(can_move, part.methods)))
        if key not in self._words:

            def drawn(block: tuple[int, ...]) -> list[Configurable]:
                return [one for (one,) in _in_block(self._bound, [method], block)]

            draws = block_by_block(part.methods, blocks, drawn)
            self._words[key] = self._made.spelled(blocks, draws)
        return self._words[key]

    def _tuned(
        self,
        part: Grouping,
        group: int,
        found: Sequence[Spelled],
        blocks: Sequence[tuple[int, ...]],
    ) -> list[Fill]:
        """What a tuned group can hold: some of the methods, whose fields may be tied."""
        choices, fills, block = part.node.item.choices, list[Fill](), blocks[group]
        for taken in itertools.product((False, True), repeat=len(part.labels)):
            if not choices.min_size <= sum(taken) <= choices.most:
                continue
            known = list(itertools.compress(found, taken))
            names = frozenset(itertools.compress(part.labels, taken))
            taking = tuple(itertools.compress(part.methods, taken))
            draws = block_by_block(part.methods, blocks, partial(self._drawn, taking))
            for drawn in draws[group]:
                word: tuple[Letter, ...] = (NOTHING,) * len(block)
                for method, spelled in zip(drawn, known, strict=True):
                    pairs = zip(word, spelled.letters[group][method], strict=True)
                    word = tuple(self._alphabet.join(one, other) for one, other in pairs)
                pairs_live = zip(drawn, known, strict=True)
                live = any(spelled.live[group][method] for method, spelled in pairs_live)
                rest = iter(drawn)
                methods = tuple(next(rest) if t else None for t in taken)
                fills.append(Fill(word, live, 1, 1, methods, names))
        return fills

    def _drawn(
        self, methods: tuple[Configurable, ...], block: tuple[int, ...]
    ) -> list[tuple[Configurable, ...]]:
        key = (methods, block)
        if key not in self._draws:
            self._draws[key] = _in_block(self._bound, methods, block)
        return self._draws[key]

    def vanishing(self, assignment: Assignment, kinds: frozenset[str]) -> frozenset[str]:
        """Those of some kinds of which a method can place nothing, by what is drawn for layers."""
        found: set[str] = set()
        for part in assignment.parts:
            if isinstance(part, Grouping):
                found |= {
                    one.kind
                    for one in part.methods
                    if one.kind in kinds and self._dead_in_groups(one, part)
                }
            elif part.kind in kinds and is_open(part) and _can_be_dead(self._strand(part)):
                found.add(part.kind)
        return frozenset(found)

    def hollow(self, assignment: Assignment, path: str) -> bool:
        """Whether nothing may be placed where METHOD.FIELD is drawn, other than by a size of 0."""
        kind, _, name = path.partition(".")
        for part in assignment.parts:
            for method in methods_of(part):
                if method.kind == kind:
                    other = placing(method, name)
                    if isinstance(part, Grouping):
                        fewer = tuple(other if one is method else one for one in part.methods)
                        if self._dead_in_groups(other, dataclasses.replace(part, methods=fewer)):
                            return True
                    elif any(
                        fill.drawn and not fill.live
                        for block in self._strand(other).blocks
                        for fill in block.fills
                    ):
                        return True
        return False

    def _dead_in_groups(self, method: Configurable, part: Grouping) -> bool:
        spelled = self._spelled(method, part, _blocks(part))
        return not all(live for some in spelled.live for live in some.values())


def _can_be_dead(strand: Strand) -> bool:
    """Whether draws of a strand can place nothing."""
    dead = [[fill.drawn for fill in block.fills if not fill.live] for block in strand.blocks]
    return all(dead) and sum(map(max, dead)) >= strand.min_size


def _blocks(part: Grouping) -> list[tuple[int, ...]]:
    """The layers of each group."""
    return [part.node.layers([group], part.cut) for group in range(part.node.n)]


def _check_tied_by_layer(assignment: Assignment) -> None:
    """Draws of each layer that parts share would be drawn for each of them here."""
    known: set[str] = set()
    for part in assignment.parts:
        held = [
            getattr(method, name) for method in methods_of(part) for name in settings(type(method))
        ]
        names = {
            one.name for one in held if isinstance(one, Shared) and differs_by_layer(one.domain)
        }
        if known & names:
            raise Unstructured
        known |= names


def _check_groups(method: Configurable, blocks: Sequence[tuple[int, ...]]) -> None:
    """A draw for a group of layers that reaches over several blocks ties them."""
    block_of = {layer: number for number, block in enumerate(blocks) for layer in block}
    for name in settings(type(method)):
        held = unshared(getattr(method, name))
        if isinstance(held, PerGroup):
            reached: dict[int, int] = {}
            for layer, number in block_of.items():
                group = held.group_of(layer)
                if reached.setdefault(group, number) != number:
                    raise Unstructured


def _in_block(
    bound: BoundSpace, methods: Sequence[Configurable], block: tuple[int, ...]
) -> list[tuple[Configurable, ...]]:
    """Every draw of some methods in a block, ties between them kept."""
    return joint_draws(
        [method.replace(layers=block) for method in methods], bound.anatomy.n_layers
    )
