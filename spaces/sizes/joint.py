"""Parts that constraints tie: which variants of theirs go together, counted without listing pairs.

Each part is read apart, its words labelled by the variants that give them. A cell is a variant of
each part; together the cells are all that meets the constraints, and no point is in two of them.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.automaton import Automaton, Labels
from peftnas.spaces.sizes.points import Outcomes, Points, Weigh
from peftnas.spaces.sizes.tables import Tables, ranges
from peftnas.spaces.sizes.tally import Distribution, add, combine

Bounds = tuple[int, int]
Cells = frozenset[tuple[int, ...]]
"""The cells that are left: of each part that is still to come, a variant."""

_Open = tuple[tuple[int, Cells], ...]
"""Values of the gate, and the cells that are left under each."""


@dataclass(frozen=True)
class Side:
    """One of the parts.

    Attributes:
        automaton: reads what it can place; its labels say variant and gate, see :func:`label`.
        points: of each variant, how it is drawn.
    """

    automaton: Automaton
    points: Sequence[Points]


def label(variant: int, gate: int, n_gates: int) -> int:
    """The label of what a variant gives under a value of the gate."""
    return variant * n_gates + gate


class Joint:
    """Parts that constraints tie. One part whose own fields they look at is a case of it.

    Args:
        sides: the parts.
        cells: what goes together.
        n_gates: values of the tied gate.
    """

    def __init__(self, sides: Sequence[Side], cells: Cells, n_gates: int) -> None:
        self._sides, self._cells, self._n_gates = sides, cells, n_gates
        self._ranges = [ranges(side.automaton) for side in sides]

    @property
    def width(self) -> int:
        """How many parts there are."""
        return len(self._sides)

    def tables(self, weigh: Weigh, budget: int | None, only: frozenset[int] | None) -> JointTables:
        """What it can place."""
        tables = [Tables(side.automaton, weigh, budget, only) for side in self._sides]
        return JointTables(tables, self._cells, self._n_gates, budget)

    def outcomes(
        self, weigh: Weigh, budget: int | None, only: frozenset[int] | None
    ) -> tuple[Outcomes, list[Outcomes]]:
        """How it is drawn, see :meth:`Points.outcomes`."""
        found = [
            [points.outcomes(weigh, budget, only) for points in side.points]
            for side in self._sides
        ]
        ungated = [[one for one, _ in some] for some in found]
        never = _over(ungated, self._cells, budget)
        gated = []
        for gate in range(self._n_gates):
            some = [[one + asked[gate] for one, asked in side] for side in found]
            gated.append(_less(_over(some, self._cells, budget), never))
        return never, gated

    def can_be_empty(self, gate: int) -> bool:
        """Whether it can place nothing under a gate."""
        empty = [side.automaton.empty for side in self._sides]
        return any(
            all(label(v, gate, self._n_gates) in some for v, some in zip(cell, empty, strict=True))
            for cell in self._cells
        )

    def range_under(self, gate: int) -> Bounds | None:
        """Fewest and most parameters of what places something; ``None``: only nothing does."""
        found: list[Bounds] = []
        for cell in self._cells:
            labels = [label(variant, gate, self._n_gates) for variant in cell]
            pairs = [range_at(some, at) for some, at in zip(self._ranges, labels, strict=True)]
            empty = [
                at in side.automaton.empty for side, at in zip(self._sides, labels, strict=True)
            ]
            pair = range_together(pairs, empty, placing=True)
            if pair is not None:
                found.append(pair)
        return (min(a for a, _ in found), max(b for _, b in found)) if found else None


class JointTables:
    """The words of tied parts by what they weigh, as :class:`Tables` has those of one.

    Args:
        tables: of each part.
        cells: what goes together.
        n_gates: values of the tied gate.
        budget: words that weigh more are left out.
    """

    def __init__(
        self, tables: Sequence[Tables], cells: Cells, n_gates: int, budget: int | None
    ) -> None:
        self._tables, self._cells = tables, cells
        self._n_gates, self._budget = n_gates, budget
        self._known: dict[tuple[int, _Open], Distribution] = {}
        self._options: dict[
            tuple[int, _Open, int], tuple[list[int], list[tuple[Labels, int]]]
        ] = {}

    def under(self, *gates: int) -> Outcomes:
        """See :meth:`Tables.under`."""
        opened = tuple((gate, self._cells) for gate in gates)
        if not self._cells:
            return Outcomes()
        filled = dict(self._from(0, opened))
        if not self._empty(opened):
            return Outcomes(0, filled)
        filled[0] -= 1
        return Outcomes(1, {count: number for count, number in filled.items() if number})

    def draw(
        self, rng: random.Random, gate: int, weight: int
    ) -> tuple[tuple[Configurable, ...], Labels]:
        """See :meth:`Tables.draw`."""
        opened: _Open = ((gate, self._cells),)
        every: _Open = tuple((one, self._cells) for one in range(self._n_gates))
        methods: tuple[Configurable, ...] = ()
        for index, tables in enumerate(self._tables):
            sums, options = self._drawn(index, opened, weight)
            labels, here = options[bisect_right(sums, rng.randrange(sums[-1]))]
            drawn, _ = tables.draw_of(rng, frozenset({labels}), here)
            methods += drawn
            weight -= here
            opened, every = self._after(labels, opened), self._after(labels, every)
        return methods, frozenset(one for one, cells in every if cells)

    def _drawn(
        self, index: int, opened: _Open, weight: int
    ) -> tuple[list[int], list[tuple[Labels, int]]]:
        """Labels and weights of the words of a part that can go on, and their summed numbers."""
        key = (index, opened, weight)
        if key not in self._options:
            numbers, options = [], []
            for labels, counts in self._tables[index].by_labels.items():
                following = self._after(labels, opened)
                if all(cells for _, cells in following):
                    rest = self._from(index + 1, following)
                    for here, number in counts.items():
                        if weight - here in rest:
                            numbers.append(number * rest[weight - here])
                            options.append((labels, here))
            self._options[key] = list(itertools.accumulate(numbers)), options
        return self._options[key]

    def _from(self, index: int, opened: _Open) -> Distribution:
        """Combinations of words from a part on that some cell gives under each gate."""
        if index == len(self._tables):
            return {0: 1}
        key = (index, opened)
        if key not in self._known:
            alike: dict[_Open, list[Distribution]] = {}
            for labels, counts in self._tables[index].by_labels.items():
                following = self._after(labels, opened)
                if all(cells for _, cells in following):
                    alike.setdefault(following, []).append(counts)
            self._known[key] = add(
                *(
                    combine(add(*some), self._from(index + 1, following), self._budget)
                    for following, some in alike.items()
                )
            )
        return self._known[key]

    def _after(self, labels: Labels, opened: _Open) -> _Open:
        """The cells left after a word of a part."""
        return tuple(
            (
                gate,
                frozenset(
                    cell[1:] for cell in cells if label(cell[0], gate, self._n_gates) in labels
                ),
            )
            for gate, cells in opened
        )

    def _empty(self, opened: _Open) -> bool:
        """Whether nothing at all can be placed under each gate."""
        for tables in self._tables:
            opened = self._after(tables.empty, opened)
        return all(cells for _, cells in opened)


def range_together(
    pairs: Sequence[Bounds | None], empty: Sequence[bool], placing: bool
) -> Bounds | None:
    """Fewest and most parameters of parts together; ``None`` where they cannot be together.

    Args:
        pairs: of each, those of what places something; ``None``: only nothing does.
        empty: whether it can place nothing.
        placing: whether at least one of them must place something.
    """
    if any(pair is None and not may for pair, may in zip(pairs, empty, strict=True)):
        return None
    known = [pair for pair in pairs if pair is not None]
    if placing and not known:
        return None
    low = sum(
        0 if may or pair is None else pair[0] for pair, may in zip(pairs, empty, strict=True)
    )
    if placing and all(empty):
        low = min(pair[0] for pair in known)
    return low, sum(pair[1] for pair in known)


def range_at(known: dict[Labels, Bounds], at: int) -> Bounds | None:
    """The range of what has a label, by all labels; ``None``: nothing has."""
    pairs = [pair for labels, pair in known.items() if at in labels]
    return (min(a for a, _ in pairs), max(b for _, b in pairs)) if pairs else None


def _over(sides: Sequence[Sequence[Outcomes]], cells: Cells, budget: int | None) -> Outcomes:
    """Outcomes of all cells: those of a variant of each part together."""
    if not sides:
        return Outcomes(len(cells))
    alike: dict[Cells, Outcomes] = {}
    for variant, outcomes in enumerate(sides[0]):
        rest = frozenset(cell[1:] for cell in cells if cell[0] == variant)
        if rest:
            alike[rest] = alike.get(rest, Outcomes()) + outcomes
    total = Outcomes()
    for rest, outcomes in alike.items():
        total += outcomes.times(_over(sides[1:], rest, budget), budget)
    return total


def _less(some: Outcomes, other: Outcomes) -> Outcomes:
    """Outcomes without some of them."""
    left = add(some.filled, {count: -number for count, number in other.filled.items()})
    return Outcomes(
        some.empty - other.empty, {count: number for count, number in left.items() if number}
    )
