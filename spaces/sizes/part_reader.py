"""Reads one part of a space, assignment by assignment: what it can place, and how it is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.sizes.assign import Assignment, Unstructured, assignments
from peftnas.spaces.sizes.automaton import Automaton, BoxOf, Labels
from peftnas.spaces.sizes.boxes import Boxes
from peftnas.spaces.sizes.cells import cells_of, look
from peftnas.spaces.sizes.joint import Joint, Side, label, range_at
from peftnas.spaces.sizes.letters import NOTHING, Alphabet
from peftnas.spaces.sizes.looks import Look, Narrowing, narrowed
from peftnas.spaces.sizes.parts import Part
from peftnas.spaces.sizes.points import Outcomes, Points, Weigh
from peftnas.spaces.sizes.strands import Strand
from peftnas.spaces.sizes.tables import Tables, ranges

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
    width = 1

    def tables(self, weigh: Weigh, budget: int | None, only: frozenset[int] | None) -> Tables:
        """What it can place."""
        return Tables(self.automaton, weigh, budget, only)

    def outcomes(
        self, weigh: Weigh, budget: int | None, only: frozenset[int] | None
    ) -> tuple[Outcomes, list[Outcomes]]:
        """How it is drawn, see :meth:`Points.outcomes`."""
        return self.points.outcomes(weigh, budget, only)

    def can_be_empty(self, gate: int) -> bool:
        """Whether it can place nothing under a gate."""
        return gate in self.automaton.empty

    def range_under(self, gate: int) -> Bounds | None:
        """Fewest and most parameters of what places something; ``None``: only nothing does."""
        return range_at(self._ranges, gate)

    @cached_property
    def _ranges(self) -> dict[Labels, Bounds]:
        return ranges(self.automaton)


class PartReader:
    """Reads the parts of a space.

    Args:
        bound: the space.
        alphabet: of the letters.
        gates: values of the tied gate.
    """

    def __init__(self, bound: BoundSpace, alphabet: Alphabet, gates: Sequence[Any]) -> None:
        self._bound, self._alphabet, self._gates = bound, alphabet, gates

    def read(
        self,
        parts: Sequence[Part],
        constraints: Sequence[Relation | Forbid],
        by_layer: bool,
        one_by_one: bool,
    ) -> Counted | Joint:
        """What parts can place together, and how they are drawn.

        Args:
            parts: of the space; several only where constraints look at them together.
            constraints: that look at them.
            by_layer: whether it matters in which layers something is placed.
            one_by_one: whether it matters how many methods are there.
        Raises:
            Unstructured: if they do not have the structure that this needs.
        """
        if one_by_one and len(parts) > 1:
            raise Unstructured
        read = _Reading(self._bound, self._alphabet, self._gates, by_layer, one_by_one)
        if constraints:
            return read.joint(parts, constraints)
        [part] = parts
        return read.alone(part)


class _Reading:
    """Reads parts, see :class:`PartReader`."""

    def __init__(
        self,
        bound: BoundSpace,
        alphabet: Alphabet,
        gates: Sequence[Any],
        by_layer: bool,
        one_by_one: bool,
    ) -> None:
        self._bound, self._alphabet, self._gates = bound, alphabet, gates
        self._by_layer, self._one_by_one = by_layer, one_by_one

    def alone(self, part: Part) -> Counted:
        """A part that no constraint looks at."""
        made = Boxes(self._bound, self._alphabet, part.apart)
        boxes: dict[tuple[Strand, ...], Labels] = {}
        widest: dict[tuple[Strand, ...], Labels] = {}
        points = Points(len(self._gates), self._alphabet)
        for gate, assignment in self._assignments(part):
            strands = made.strands(assignment)
            points.add(strands, gate, assignment.gated)
            boxes[strands] = boxes.get(strands, frozenset()) | {gate}
            if assignment.widest:
                widest[strands] = widest.get(strands, frozenset()) | {gate}
        if all(s.constant == NOTHING for some in widest for s in some):
            boxes = _freed(widest)
        return Counted(self._automaton(boxes), points)

    def joint(self, parts: Sequence[Part], constraints: Sequence[Relation | Forbid]) -> Joint:
        """Parts that constraints look at together."""
        made = [Boxes(self._bound, self._alphabet, part.apart) for part in parts]
        found = [
            [
                (gate, assignment, look(self._bound, assignment, constraints, boxes))
                for gate, assignment in self._assignments(part)
            ]
            for part, boxes in zip(parts, made, strict=True)
        ]
        looks = [list(dict.fromkeys(seen for _, _, seen in some)) for some in found]
        variants, cells = cells_of(self._bound, looks, constraints)
        sides = [self._side(*one) for one in zip(found, made, variants, strict=True)]
        return Joint(sides, cells, len(self._gates))

    def _side(
        self,
        found: Sequence[tuple[int, Assignment, Look]],
        made: Boxes,
        variants: Mapping[Look, Mapping[Narrowing, int]],
    ) -> Side:
        """One of several parts, by the variants of what constraints see of it."""
        n_gates = len(self._gates)
        numbers = {number for known in variants.values() for number in known.values()}
        points = [Points(n_gates, self._alphabet) for _ in numbers]
        boxes: dict[tuple[Strand, ...], Labels] = {}
        for gate, assignment, seen in found:
            for narrowing, number in variants.get(seen, {}).items():
                strands = made.strands(narrowed(assignment, narrowing))
                points[number].add(strands, gate, assignment.gated)
                at = {label(number, gate, n_gates)}
                boxes[strands] = boxes.get(strands, frozenset()) | at
        return Side(self._automaton(boxes), points)

    def _assignments(self, part: Part) -> Iterator[tuple[int, Assignment]]:
        """Values of the gate, by number, and assignments with each."""
        for index, value in enumerate(self._gates):
            gate = None if value is None and len(self._gates) == 1 else Choice(value)
            found = assignments(part.nodes, self._bound.anatomy.n_layers, gate)
            for number, assignment in enumerate(found):
                if number == _ASSIGNMENTS:
                    raise Unstructured
                if self._one_by_one and len(assignment.methods) > 1:
                    raise Unstructured
                yield index, assignment

    def _automaton(self, boxes: Mapping[tuple[Strand, ...], Labels]) -> Automaton:
        made_of = [strand for strands in boxes for strand in strands]
        _check_spanning(made_of)
        if self._by_layer and any(map(_across, made_of)):
            raise Unstructured
        found = [BoxOf(*pair) for pair in boxes.items()]
        return Automaton(found, self._alphabet, self._bound.anatomy.n_layers)


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
