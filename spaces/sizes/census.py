"""The census of a space: its points and its architectures, counted part by part.

Parts have nothing to do with each other but for the value of the tied gate. What looks across them
is met here: the budget by convolution over exact counts, the gate and a least number of layers or
methods by inclusion and exclusion.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from peftnas.spaces.constraints import AtLeast
from peftnas.spaces.domains import Choice
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.joint import JointTables, range_together
from peftnas.spaces.sizes.letters import Alphabet
from peftnas.spaces.sizes.part_reader import PartReader
from peftnas.spaces.sizes.parts import Part, linked, parts
from peftnas.spaces.sizes.points import Outcomes, Weigh
from peftnas.spaces.sizes.reals import real_fields
from peftnas.spaces.sizes.spread import Spread
from peftnas.spaces.sizes.tables import Tables
from peftnas.spaces.sizes.tally import Together, extremes, number_within, together
from peftnas.spaces.sizes.weighing import alike, exactly, rounded

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_STEPS_OF_BUDGET = 400
_BUCKETS = 1_000

Bounds = tuple[int, int]
Row = tuple[int, list[Outcomes]]
"""Outcomes of each part, whose combinations count so often: 1, or -1 to take them away."""

Summed = tuple[int, Together]
"""The same, with all parts together."""


class Census:
    """Counts a bound space without listing its points.

    Args:
        bound: the space.
        groups: its items, parted; default: as ``parts`` finds them.
        constrained: whether constraints other than the budget are looked at.
    Raises:
        Unstructured: if it does not have the structure that this needs.
    """

    def __init__(
        self,
        bound: BoundSpace,
        groups: Sequence[Part] | None = None,
        constrained: bool = True,
    ) -> None:
        self._bound = bound
        gate = bound.space.gate
        self._gates: tuple[Any, ...] = gate.options if isinstance(gate, Choice) else (gate,)
        self._n_layers = bound.anatomy.n_layers
        self._alphabet = Alphabet()
        self._layers_needed, self._methods_needed = _needed(bound) if constrained else (0, 0)
        self._known: dict[tuple[Any, ...], list[Tables | JointTables]] = {}
        self._counted: dict[tuple[bool, int | None], Bounds] = {}
        reading = PartReader(bound, self._alphabet, self._gates)
        compared = [c for c in bound.space.constraints if isinstance(c, Relation | Forbid)]
        self._parts = [
            reading.read(*some, self._layers_needed > 0, self._methods_needed > 1)
            for some in linked(
                parts(bound) if groups is None else groups, compared if constrained else []
            )
        ]

    def distinct(self, budget: int | None) -> Bounds:
        """Architectures within a budget of trainable parameters that meet all constraints."""
        return self._once((True, budget), self.words)

    def cumulated(self, budgets: Sequence[int]) -> list[Bounds]:
        """:meth:`distinct` for several budgets, from one table."""
        most = max(budgets, default=0)
        rows = self._summed(most)
        if rows is not None:
            return [(_within(rows, budget),) * 2 for budget in budgets]
        return [
            self._bounds(budget, lambda weigh, limit: self.words(weigh, limit, most))
            for budget in budgets
        ]

    def raw(self, budget: int | None) -> Bounds:
        """Points within a budget that meet all constraints."""
        return self._once((False, budget), self._draws)

    def parameters(self, placing: bool) -> Bounds | None:
        """Fewest and most trainable parameters within the budget, where they are known.

        Args:
            placing: of architectures that place something.
        """
        if self._layers_needed or self._methods_needed > 1:
            return self._searched()
        placing = placing or self._methods_needed > 0
        budget = self._bound.max_parameters
        found: list[Bounds] = []
        for gate in range(len(self._gates)):
            if budget is None:
                found += self._range_under(gate, placing)
                continue
            try:
                sides = [tables.under(gate) for tables in self.tables(exactly, budget)]
            except Unstructured:
                return None
            for some in _placing(sides) if placing else [sides]:
                pair = extremes([side.distribution() for side in some], budget)
                if pair is not None:
                    found.append(pair)
        return (min(low for low, _ in found), max(high for _, high in found)) if found else None

    def around(self, placing: bool) -> Bounds | None:
        """Bounds of these: no architecture that meets all constraints has fewer or more.

        ``None`` where none places anything, or none that does fits.
        """
        placing = placing or self._methods_needed > 0 or self._layers_needed > 0
        found = [
            pair for gate in range(len(self._gates)) for pair in self._range_under(gate, placing)
        ]
        budget = self._bound.max_parameters
        if not found:
            return None
        low, high = min(low for low, _ in found), max(high for _, high in found)
        high = high if budget is None else min(high, budget)
        return (low, high) if low <= high else None

    def tables(
        self, weigh: Weigh, budget: int | None, only: frozenset[int] | None = None
    ) -> list[Tables | JointTables]:
        """Of each part, its words by what they weigh."""
        key = (weigh, budget, only)
        if key not in self._known:
            self._known[key] = [part.tables(weigh, budget, only) for part in self._parts]
        return self._known[key]

    def drawer(self, low: int, high: int | None) -> Spread | None:
        """Draws architectures with so many parameters; some may have others, or break constraints.

        Within a range counts are rounded, so that ones a little beyond its ends are drawn too.
        """
        try:
            return self._drawer(low, high)
        except Unstructured:
            return None

    def _drawer(self, low: int, high: int | None) -> Spread:
        gates = len(self._gates)
        if low <= 0 and (high is None or high >= self._most()):
            return Spread(self.tables(alike, None), gates, 1, 0, 0)
        high = self._most() if high is None else high
        step = max((high - low) // _BUCKETS, 1)
        tables = self.tables(rounded(step, False), high)
        # each letter may have lost almost a step by rounding
        lost = (step - 1) * (self._n_layers + 1) * sum(part.width for part in self._parts)
        return Spread(tables, gates, step, max(low - lost, 0), high)

    def _most(self) -> int:
        """Most trainable parameters, whatever the budget."""
        ranges = [
            pair for gate in range(len(self._gates)) for pair in self._range_under(gate, False)
        ]
        return max((high for _, high in ranges), default=0)

    def _searched(self) -> Bounds | None:
        """:meth:`parameters` by how many architectures have at most so many."""
        budget, most = self._bound.max_parameters, self._most()
        most = most if budget is None else min(budget, most)
        rows = self._summed(most)
        every = 0 if rows is None else _within(rows, most)
        if rows is None or not every:
            return None
        number = partial(_within, rows)
        limits = range(most + 1)
        return bisect_left(limits, 1, key=number), bisect_left(limits, every, key=number)

    # the numbers

    def _summed(self, limit: int) -> list[Summed] | None:
        """All architectures up to a limit, ready to be counted; ``None``: too much work."""
        rows: list[Summed] = []
        try:
            for times, row in self._rows(limit):
                both = together([one.distribution() for one in row], limit)
                if both is None:
                    return None
                rows.append((times, both))
        except Unstructured:
            return None
        return rows

    def _rows(self, limit: int) -> Iterator[Row]:
        """All architectures up to a limit, as :meth:`words` adds them up."""
        for factor, only in self._layer_sets():
            for times, row in self._gate_rows(exactly, limit, only):
                for sign, some in self._with_methods(row):
                    yield factor * times * sign, some

    def _once(
        self, key: tuple[bool, int | None], number: Callable[[Weigh, int | None], Bounds]
    ) -> Bounds:
        if key not in self._counted:
            self._counted[key] = self._bounds(key[1], number)
        return self._counted[key]

    def _bounds(self, budget: int | None, number: Callable[[Weigh, int | None], Bounds]) -> Bounds:
        """The number within a budget, or bounds by rounding where counts are too many."""
        if budget is None:
            return number(alike, None)
        try:
            return number(exactly, budget)
        except Unstructured:
            step = max(budget // _STEPS_OF_BUDGET, 1)
            low, high = (number(rounded(step, up), budget) for up in (True, False))
            return low[0], high[1]

    def words(self, weigh: Weigh, budget: int | None, most: int | None = None) -> Bounds:
        """Architectures; a combination of words counts once, however many gates give it.

        Args:
            weigh: what parameters count as.
            budget: that they have to meet.
            most: the largest budget that tables are made for; default: this one.
        """
        limit = budget if most is None else most
        return self._in_enough_layers(
            lambda only: self._within(self._gate_rows(weigh, limit, only), budget)
        )

    def _gate_rows(
        self, weigh: Weigh, limit: int | None, only: frozenset[int] | None
    ) -> Iterator[Row]:
        gates = range(len(self._gates))
        for size in range(1, len(gates) + 1):
            for some in itertools.combinations(gates, size):
                tables = self.tables(weigh, limit, only)
                yield (-1) ** (size + 1), [one.under(*some) for one in tables]

    def _draws(self, weigh: Weigh, budget: int | None) -> Bounds:
        """Points; the gate is drawn only where some part asks for it."""
        gates = range(len(self._gates))

        def rows(only: frozenset[int] | None) -> Iterator[Row]:
            found = [part.outcomes(weigh, budget, only) for part in self._parts]
            if len(gates) > 1:
                yield 1 - len(gates), [ungated for ungated, _ in found]
            for gate in gates:
                yield 1, [ungated + gated[gate] for ungated, gated in found]

        return self._in_enough_layers(lambda only: self._within(rows(only), budget))

    def _within(self, rows: Iterable[Row], budget: int | None) -> Bounds:
        low = high = 0
        for times, row in rows:
            for sign, some in self._with_methods(row):
                pair = number_within([one.distribution() for one in some], budget)
                first, last = pair if sign * times > 0 else pair[::-1]
                low, high = low + sign * times * first, high + sign * times * last
        return max(low, 0), high

    def _with_methods(self, row: list[Outcomes]) -> Iterator[Row]:
        """A row, less those of its combinations in which too few parts place something."""
        yield 1, row
        for size in range(self._methods_needed):
            for placing in itertools.combinations(range(len(row)), size):
                yield (
                    -1,
                    [
                        Outcomes(0, one.filled) if i in placing else Outcomes(one.empty)
                        for i, one in enumerate(row)
                    ],
                )

    def _in_enough_layers(self, number: Callable[[frozenset[int] | None], Bounds]) -> Bounds:
        """Those that place something in at least so many layers."""
        low = high = 0
        for factor, only in self._layer_sets():
            some = number(only)
            if only is not None and some[0] != some[1]:
                raise Unstructured
            low, high = low + factor * some[0], high + factor * some[1]
        return low, high

    def _layer_sets(self) -> Iterator[tuple[int, frozenset[int] | None]]:
        """Sets of layers to stay within, ``None`` for all, and how often each counts.

        Of L layers, at most m are used by the sum, over all sets T of up to m layers, of
        (-1)^(m - |T|) C(L - |T| - 1, m - |T|) times those that stay within T.
        """
        most = self._layers_needed - 1
        if most >= self._n_layers:
            return
        yield 1, None
        for size in range(most + 1):
            factor = (-1) ** (most - size) * math.comb(self._n_layers - size - 1, most - size)
            for only in itertools.combinations(range(self._n_layers), size):
                yield -factor, frozenset(only)

    def _range_under(self, gate: int, needed: bool) -> list[Bounds]:
        """Fewest and most parameters that a gate gives; of what places something if ``needed``."""
        found = [part.range_under(gate) for part in self._parts]
        pair = range_together(found, [part.can_be_empty(gate) for part in self._parts], needed)
        return [] if pair is None else [pair]


def _within(rows: Iterable[Summed], budget: int) -> int:
    """How many of some rows stay within a budget."""
    return sum(times * both.within(budget) for times, both in rows)


def _placing(sides: list[Outcomes]) -> Iterator[list[Outcomes]]:
    """Rows whose combinations, together, are all that place something."""
    for i, side in enumerate(sides):
        yield [*sides[:i], Outcomes(0, side.filled), *sides[i + 1 :]]


def _needed(bound: BoundSpace) -> tuple[int, int]:
    """How many layers and methods have to hold something.

    Raises:
        Unstructured: if a constraint looks at something else, or at a ``Real``.
    """
    reals = real_fields(bound)
    layers, methods = 0, int(bound.space.at_least_one_method)
    for constraint in bound.space.constraints:
        match constraint:
            case AtLeast(number, "layers"):
                layers = max(layers, number)
            case AtLeast(number, "methods"):
                methods = max(methods, number)
            case Relation() | Forbid():
                if reals.intersection(constraint.paths):
                    raise Unstructured  # all else is met assignment by assignment
            case _:
                raise Unstructured
    return layers, methods
