"""Reads one part of a space, assignment by assignment: what it can place, and how it is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.sizes.assign import Unstructured, assignments
from peftnas.spaces.sizes.automaton import Automaton, BoxOf, Labels
from peftnas.spaces.sizes.boxes import Boxes
from peftnas.spaces.sizes.letters import NOTHING, Alphabet
from peftnas.spaces.sizes.parts import Part
from peftnas.spaces.sizes.points import Points
from peftnas.spaces.sizes.strands import Strand
from peftnas.spaces.sizes.tables import ranges

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_ASSIGNMENTS = 40_000

Bounds = tuple[int, int]


@dataclass(frozen=True)
class Counted:
    """One part.

    Attributes:
        automaton: reads what it can place.
        points: how it is drawn.
    """

    automaton: Automaton
    points: Points

    @cached_property
    def ranges(self) -> dict[Labels, Bounds]:
        """Fewest and most trainable parameters of what places something, by labels."""
        return ranges(self.automaton)

    def range_under(self, gate: int) -> Bounds | None:
        """The same of what a gate gives; ``None``: only nothing."""
        pairs = [pair for labels, pair in self.ranges.items() if gate in labels]
        return (min(a for a, _ in pairs), max(b for _, b in pairs)) if pairs else None


class PartReader:
    """Reads the parts of a space.

    Args:
        bound: the space.
        alphabet: of the letters.
        gates: values of the tied gate.
        constrained: whether constraints between fields are looked at.
    """

    def __init__(
        self, bound: BoundSpace, alphabet: Alphabet, gates: Sequence[Any], constrained: bool
    ) -> None:
        self._bound, self._alphabet = bound, alphabet
        self._gates, self._constrained = gates, constrained

    def read(self, part: Part, by_layer: bool, one_by_one: bool) -> Counted:
        """What a part can place, and how it is drawn.

        Args:
            part: of the space.
            by_layer: whether it matters in which layers something is placed.
            one_by_one: whether it matters how many methods are there.
        Raises:
            Unstructured: if it does not have the structure that this needs.
        """
        gates, n_layers = self._gates, self._bound.anatomy.n_layers
        made = Boxes(self._bound, self._alphabet, part.apart, self._constrained)
        boxes: dict[tuple[Strand, ...], Labels] = {}
        widest: dict[tuple[Strand, ...], Labels] = {}
        points = Points(len(gates), self._alphabet)
        for index, value in enumerate(gates):
            gate = None if value is None and len(gates) == 1 else Choice(value)
            found = islice(assignments(part.nodes, n_layers, gate), _ASSIGNMENTS + 1)
            for number, assignment in enumerate(found):
                if number == _ASSIGNMENTS:
                    raise Unstructured
                if one_by_one and len(assignment.methods) > 1:
                    raise Unstructured
                strands = made.strands(assignment)
                if strands is None:
                    continue
                points.add(strands, index, assignment.gated)
                boxes[strands] = boxes.get(strands, frozenset()) | {index}
                if assignment.widest:
                    widest[strands] = widest.get(strands, frozenset()) | {index}
        # with fewer methods a constraint may be met that is broken with all
        if not made.compares and all(s.constant == NOTHING for some in widest for s in some):
            boxes = _freed(widest)
        made_of = [strand for strands in boxes for strand in strands]
        _check_spanning(made_of)
        if by_layer and any(map(_across, made_of)):
            raise Unstructured
        found_boxes = [BoxOf(*pair) for pair in boxes.items()]
        return Counted(Automaton(found_boxes, self._alphabet, n_layers), points)


def _freed(widest: dict[tuple[Strand, ...], Labels]) -> dict[tuple[Strand, ...], Labels]:
    """Boxes without methods that must be drawn somewhere: what never is places nothing."""
    freed: dict[tuple[Strand, ...], Labels] = {}
    for strands, labels in widest.items():
        free = tuple(dataclasses.replace(strand, required=frozenset()) for strand in strands)
        freed[free] = freed.get(free, frozenset()) | labels
    return freed


def _across(strand: Strand) -> bool:
    """Whether letters do not say in which layers something is placed."""
    wide = any(len(block.layers) > 1 for block in strand.blocks)
    return strand.across or (strand.spanning and wide)


def _check_spanning(strands: Sequence[Strand]) -> None:
    """A placement over several layers is known by its blocks only: all must be cut alike."""
    placing = {strand for strand in strands if any(f.live for b in strand.blocks for f in b.fills)}
    for strand in placing:
        if strand.spanning:
            cut = [block.layers for block in strand.blocks]
            for other in placing:
                if other.kinds & strand.kinds and [b.layers for b in other.blocks] != cut:
                    raise Unstructured
