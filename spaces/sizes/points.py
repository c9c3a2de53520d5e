"""How many points of a part place what: draws are weighed, not told apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftnas.spaces.sizes.letters import NOTHING, Alphabet
from peftnas.spaces.sizes.strands import Block, Strand
from peftnas.spaces.sizes.tally import Distribution, add, combine

Weigh = Callable[[int], int]
"""What the parameters of a letter count as."""


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of a part that place nothing, and the others by trainable parameters."""

    empty: int = 0
    filled: Distribution = field(default_factory=dict)

    def __add__(self, other: Outcomes) -> Outcomes:
        return Outcomes(self.empty + other.empty, add(self.filled, other.filled))

    def times(self, other: Outcomes, budget: int | None) -> Outcomes:
        """Outcomes of both together."""
        filled = add(
            combine(self.filled, other.filled, budget),
            {count: number * other.empty for count, number in self.filled.items()},
            {count: number * self.empty for count, number in other.filled.items()},
        )
        return Outcomes(self.empty * other.empty, filled)

    def distribution(self) -> Distribution:
        """All of them, those that place nothing at 0 parameters."""
        return add(self.filled, {0: self.empty}) if self.empty else self.filled


class Points:
    """The points of one part.

    Args:
        n_gates: values of the tied gate.
        alphabet: of the letters.
    """

    def __init__(self, n_gates: int, alphabet: Alphabet) -> None:
        self._n_gates, self._alphabet = n_gates, alphabet
        self._boxes: list[tuple[tuple[Strand, ...], int, bool]] = []

    def add(self, strands: tuple[Strand, ...], gate: int, gated: bool) -> None:
        """One assignment.

        Args:
            strands: what it can place.
            gate: the value of the tied gate that it was drawn with.
            gated: whether the gate was asked at all.
        """
        if gated or gate == 0:
            self._boxes.append((strands, gate, gated))

    def outcomes(
        self, weigh: Weigh, budget: int | None, only: frozenset[int] | None
    ) -> tuple[Outcomes, list[Outcomes]]:
        """Points that do not ask for the gate, and for each of its values those that do.

        Args:
            weigh: what parameters count as.
            budget: points with more are left out.
            only: layers in which something may be placed; ``None``: all.
        """

        # strands that place the same are equal, but may be drawn in more ways
        known: dict[int, Outcomes] = {}
        draws = _Draws(self._alphabet, weigh, budget, only)
        alike: Counter[tuple[int | None, tuple[int, ...]]] = Counter()
        for strands, gate, asked in self._boxes:
            here = []
            for strand in strands:
                if id(strand) not in known:
                    known[id(strand)] = draws.of(strand)
                here.append(id(known[id(strand)]))
            alike[gate if asked else None, tuple(here)] += 1
        # many strands weigh the same: their combinations are worked out once
        outcomes = {id(one): one for one in known.values()}
        found: dict[int | None, list[Outcomes]] = defaultdict(list)
        for (asked_gate, here_too), times in alike.items():
            product = Outcomes(times)
            for one in here_too:
                product = product.times(outcomes[one], budget)
            found[asked_gate].append(product)
        return _sum(found[None]), [_sum(found[gate]) for gate in range(self._n_gates)]


def _sum(found: Sequence[Outcomes]) -> Outcomes:
    return Outcomes(sum(one.empty for one in found), add(*(one.filled for one in found)))


_Drawn = tuple[bool, int, frozenset[str], int]
"""Something placed, layers drawn up to ``min_size``, kinds drawn, parameters."""

_Ways = tuple[tuple[_Drawn, int], ...]
"""What a block adds, and how many of its draws add it."""


class _Draws:
    """Draws of strands, block after block; strands that weigh alike are looked at once."""

    def __init__(
        self, alphabet: Alphabet, weigh: Weigh, budget: int | None, only: frozenset[int] | None
    ) -> None:
        self._alphabet, self._weigh = alphabet, weigh
        self._budget, self._only = budget, only
        self._ways: dict[tuple[Any, ...], int] = {}  # of a block -> its number
        self._numbers: dict[_Ways, int] = {}
        self._known: dict[tuple[Any, ...], Outcomes] = {}

    def of(self, strand: Strand) -> Outcomes:
        """How many draws place nothing, and how many so many parameters."""
        extra = self._weigh(self._alphabet.count(strand.constant))
        blocks = tuple(self._block(block, strand.spanning) for block in strand.blocks)
        key = (extra, strand.min_size, strand.required, blocks)
        if key not in self._known:
            self._known[key] = self._outcomes(*key)
        return self._known[key]

    def _block(self, block: Block, spanning: bool) -> int:
        """The number of what a block adds."""
        only = self._only
        inside = only and tuple(layer in only for layer in block.layers)
        key = (id(block.fills), inside, spanning)
        if key not in self._ways:
            ways: dict[_Drawn, int] = {}
            for fill in block.fills:
                if only is not None and not _within(block, fill.letters, only, spanning):
                    continue
                count = sum(self._weigh(self._alphabet.count(letter)) for letter in fill.letters)
                way = (fill.live, fill.drawn, fill.covers, count)
                ways[way] = ways.get(way, 0) + fill.weight
            self._ways[key] = self._numbers.setdefault(tuple(ways.items()), len(self._numbers))
        return self._ways[key]

    def _outcomes(
        self, extra: int, min_size: int, required: frozenset[str], blocks: tuple[int, ...]
    ) -> Outcomes:
        numbered = list(self._numbers)
        table: dict[_Drawn, int] = {(False, 0, frozenset(), 0): 1}
        for block in blocks:
            merged: dict[_Drawn, int] = {}
            for (live, drawn, covered, count), number in table.items():
                for (more_live, more, covers, adds), times in numbered[block]:
                    total = count + adds
                    if self._budget is not None and total + extra > self._budget and total:
                        continue
                    most = min(drawn + more, min_size)
                    state = (live or more_live, most, covered | covers, total)
                    merged[state] = merged.get(state, 0) + number * times
            table = merged
        empty, filled = 0, dict[int, int]()
        for (live, drawn, covered, count), number in table.items():
            if drawn < min_size or not required <= covered:
                continue
            if live:
                filled[count + extra] = filled.get(count + extra, 0) + number
            else:
                empty += number
        return Outcomes(empty, filled)


def _within(block: Block, letters: Sequence[int], only: frozenset[int], spanning: bool) -> bool:
    if all(letter == NOTHING for letter in letters):
        return True
    return all(
        layer in only
        for layer, letter in zip(block.layers, letters, strict=True)
        if letter != NOTHING or spanning
    )
