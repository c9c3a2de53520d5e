"""The census of a space: its points and its architectures, counted part by part.

Parts have nothing to do with each other but for the value of the tied gate. What looks across them
is met here: the budget by convolution over exact counts, the gate and a least number of layers or
methods by inclusion and exclusion.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.spaces.constraints import AtLeast
from peftnas.spaces.domains import Choice
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.letters import Alphabet
from peftnas.spaces.sizes.part_reader import PartReader
from peftnas.spaces.sizes.parts import Part, parts
from peftnas.spaces.sizes.points import Outcomes, Weigh
from peftnas.spaces.sizes.spread import Spread
from peftnas.spaces.sizes.tables import Tables
from peftnas.spaces.sizes.tally import extremes, number_within
from peftnas.spaces.sizes.weighing import alike, exactly, rounded

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_STEPS_OF_BUDGET = 400
_BUCKETS = 1_000

Bounds = tuple[int, int]
Row = tuple[int, list[Outcomes]]
"""Outcomes of each part, whose combinations count so often: 1, or -1 to take them away."""


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
        self._known: dict[tuple[Any, ...], list[Tables]] = {}
        self._counted: dict[tuple[bool, int | None], Bounds] = {}
        reading = PartReader(bound, self._alphabet, self._gates, constrained)
        found = parts(bound) if groups is None else groups
        self._parts = [
            reading.read(part, self._layers_needed > 0, self._methods_needed > 1) for part in found
        ]

    def distinct(self, budget: int | None) -> Bounds:
        """Architectures within a budget of trainable parameters that meet all constraints."""
        return self._once((True, budget), self.words)

    def cumulated(self, budgets: Sequence[int]) -> list[Bounds]:
        """:meth:`distinct` for several budgets, from one table."""
        most = max(budgets, default=0)
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
        if self._layers_needed > 1 or self._methods_needed > 1:
            return None
        placing = placing or self._methods_needed > 0 or self._layers_needed > 0
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

    def tables(
        self, weigh: Weigh, budget: int | None, only: frozenset[int] | None = None
    ) -> list[Tables]:
        """Of each part, its words by what they weigh."""
        key = (weigh, budget, only)
        if key not in self._known:
            self._known[key] = [
                Tables(part.automaton, weigh, budget, only) for part in self._parts
            ]
        return self._known[key]

    def drawer(self, low: int, high: int) -> Spread:
        """Draws architectures with so many parameters; some may have others, or break constraints.

        Within a range counts are rounded, so that ones a little beyond its ends are drawn too.
        """
        gates = len(self._gates)
        if low <= 0 and high >= self._most():
            return Spread(self.tables(alike, None), gates, 1, 0, 0)
        step = max((high - low) // _BUCKETS, 1)
        tables = self.tables(rounded(step, False), high)
        # each letter may have lost almost a step by rounding
        lost = (step - 1) * (self._n_layers + 1) * len(self._parts)
        return Spread(tables, gates, step, max(low - lost, 0), high)

    def _most(self) -> int:
        """Most trainable parameters, whatever the budget."""
        ranges = [
            pair for gate in range(len(self._gates)) for pair in self._range_under(gate, False)
        ]
        return max((high for _, high in ranges), default=0)

    # the numbers

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
        gates = range(len(self._gates))

        def rows(only: frozenset[int] | None) -> Iterator[Row]:
            for size in range(1, len(gates) + 1):
                for some in itertools.combinations(gates, size):
                    tables = self.tables(weigh, limit, only)
                    yield (-1) ** (size + 1), [one.under(*some) for one in tables]

        return self._in_enough_layers(lambda only: self._within(rows(only), budget))

    def _draws(self, weigh: Weigh, budget: int | None) -> Bounds:
        """Points; the gate is drawn only where some part asks for it."""
        gates = range(len(self._gates))

        def rows(only: frozenset[int] | None) -> Iterator[Row]:
            found = [part.points.outcomes(weigh, budget, only) for part in self._parts]
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
        """Those that place something in at least so many layers.

        Of L layers, at most m are used by the sum, over all sets T of up to m layers, of
        (-1)^(m - |T|) C(L - |T| - 1, m - |T|) times those that stay within T.
        """
        most = self._layers_needed - 1
        if most < 0:
            return number(None)
        if most >= self._n_layers:
            return 0, 0
        low, high = number(None)
        for size in range(most + 1):
            factor = (-1) ** (most - size) * math.comb(self._n_layers - size - 1, most - size)
            for only in itertools.combinations(range(self._n_layers), size):
                fewer = number(frozenset(only))
                if fewer[0] != fewer[1]:
                    raise Unstructured
                low, high = low - factor * fewer[0], high - factor * fewer[0]
        return low, high

    def _range_under(self, gate: int, needed: bool) -> Iterator[Bounds]:
        """Fewest and most parameters that a gate gives; of what places something if ``needed``."""
        found = [part.range_under(gate) for part in self._parts]
        empty = [gate in part.automaton.empty for part in self._parts]
        if any(pair is None and not may for pair, may in zip(found, empty, strict=True)):
            return  # a part can place nothing and must
        placing = [pair for pair in found if pair is not None]
        if needed and not placing:
            return
        low = sum(
            0 if may or pair is None else pair[0] for pair, may in zip(found, empty, strict=True)
        )
        if needed and all(empty):
            low = min(pair[0] for pair in placing)
        yield low, sum(pair[1] for pair in placing)

    # the parts


def _placing(sides: list[Outcomes]) -> Iterator[list[Outcomes]]:
    """Rows whose combinations, together, are all that place something."""
    for i, side in enumerate(sides):
        yield [*sides[:i], Outcomes(0, side.filled), *sides[i + 1 :]]


def _needed(bound: BoundSpace) -> tuple[int, int]:
    """How many layers and methods have to hold something.

    Raises:
        Unstructured: if a constraint looks at something else.
    """
    layers, methods = 0, int(bound.space.at_least_one_method)
    for constraint in bound.space.constraints:
        match constraint:
            case AtLeast(number, "layers"):
                layers = max(layers, number)
            case AtLeast(number, "methods"):
                methods = max(methods, number)
            case Relation() | Forbid():
                pass  # met assignment by assignment
            case _:
                raise Unstructured
    return layers, methods
