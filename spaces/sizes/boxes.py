"""From one assignment of the shared fields to its strands."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import Configurable, possible_values, settings
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.sizes.assign import Assignment, Grouping, Unstructured, is_open
from peftnas.spaces.sizes.draws import can_move, joint_draws
from peftnas.spaces.sizes.letters import NOTHING, Alphabet, Letter
from peftnas.spaces.sizes.spelled import Spelled, block_by_block
from peftnas.spaces.sizes.spelling import Strands
from peftnas.spaces.sizes.strands import Block, Fill, Strand
from peftnas.spaces.structure import ByLayer, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, unshared

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


class Boxes:
    """Makes strands; those of a method are kept, since many assignments share methods.

    Args:
        bound: the space.
        alphabet: that their letters are of.
        apart: whether methods place together just what each places alone.
        constrained: whether constraints are looked at.
    """

    def __init__(
        self, bound: BoundSpace, alphabet: Alphabet, apart: bool, constrained: bool
    ) -> None:
        self._bound, self._alphabet, self._apart = bound, alphabet, apart
        self._made = Strands(bound, alphabet)
        self._known: dict[Any, Strand] = {}
        self._words: dict[Any, Spelled] = {}
        self._draws: dict[Any, list[tuple[Configurable, ...]]] = {}
        compared = [c for c in bound.space.constraints if isinstance(c, Relation | Forbid)]
        self._compared = compared if constrained else []

    @property
    def compares(self) -> bool:
        """Whether assignments can break a constraint."""
        return bool(self._compared)

    def strands(self, assignment: Assignment) -> tuple[Strand, ...] | None:
        """The strands of an assignment; ``None`` where it breaks a constraint on its fields.

        Raises:
            Unstructured: if what they place depends on each other.
        """
        if self._compared and not self._meets(assignment):
            return None
        methods = [part for part in assignment.parts if not isinstance(part, Grouping)]
        if not self._apart and len(assignment.methods) > 1:
            if any(isinstance(part, Grouping) for part in assignment.parts) or any(
                map(is_open, methods)
            ):
                raise Unstructured
            return (self._made.fixed(methods),)
        _check_tied_by_layer(methods)
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
        node, item = part.node, part.node.item
        blocks = [node.layers([group], part.cut) for group in range(node.n)]
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

    def _meets(self, assignment: Assignment) -> bool:
        """Whether the shared fields meet the constraints that compare them.

        Raises:
            Unstructured: if that depends on layers still to be drawn.
        """
        closed = Architecture(*map(_closed, assignment.methods))
        placed = self._bound.placed_once(closed)
        for constraint in self._compared:
            looked_at = [m for m in assignment.methods if m.kind in constraint.kinds]
            for path in constraint.paths:
                kind, _, name = path.partition(".")
                held = [
                    unshared(getattr(method, name)) for method in looked_at if method.kind == kind
                ]
                if any(isinstance(one, PerLayer | PerGroup | ByLayer) for one in held):
                    raise Unstructured
            if constraint.broken(placed, self._bound) is not None:
                if any(map(_may_vanish, looked_at)):
                    raise Unstructured
                return False
        return True


def _check_tied_by_layer(methods: Sequence[Configurable]) -> None:
    """Draws of each layer that methods share would be drawn for each of them here."""
    names = [
        held.name
        for method in methods
        for name in settings(type(method))
        if isinstance(held := getattr(method, name), Shared) and isinstance(held.domain, PerLayer)
    ]
    if len(set(names)) < len(names):
        raise Unstructured


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


def _closed(method: Configurable) -> Configurable:
    """The method in all layers that may be drawn, at the largest of what differs by layer."""
    changes: dict[str, Any] = {}
    for name in settings(type(method)):
        held = unshared(getattr(method, name))
        if isinstance(held, Subset):
            changes[name] = held.items
        elif isinstance(held, PerLayer | PerGroup):
            changes[name] = list(possible_values(held))[-1]
    return method.replace(**changes)


def _may_vanish(method: Configurable) -> bool:
    """Whether what is drawn by layer can leave nothing of the method."""
    for name, declared in settings(type(method)).items():
        held = unshared(getattr(method, name))
        if isinstance(held, Subset) and not held.min_size:
            return True
        if isinstance(held, PerLayer | PerGroup):
            values = list(possible_values(held))
            if () in values or (declared.size and 0 in values):
                return True
    return False
