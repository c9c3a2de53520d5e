"""How many points of a part place what: draws are weighed, not told apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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

    def __sub__(self, other: Outcomes) -> Outcomes:
        less = {count: -number for count, number in other.filled.items()}
        return Outcomes(self.empty - other.empty, add(self.filled, less))

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
        ungated: list[Outcomes] = []
        gated: list[list[Outcomes]] = [[] for _ in range(self._n_gates)]
        for strands, gate, asked in self._boxes:
            here = Outcomes(1)
            for strand in strands:
                if id(strand) not in known:
                    known[id(strand)] = _drawn(strand, self._alphabet, weigh, budget, only)
                here = here.times(known[id(strand)], budget)
            (gated[gate] if asked else ungated).append(here)
        return _sum(ungated), [_sum(some) for some in gated]


def _sum(found: Sequence[Outcomes]) -> Outcomes:
    return Outcomes(sum(one.empty for one in found), add(*(one.filled for one in found)))


def _drawn(
    strand: Strand,
    alphabet: Alphabet,
    weigh: Weigh,
    budget: int | None,
    only: frozenset[int] | None,
) -> Outcomes:
    """Draws of a strand, block after block."""
    extra = weigh(alphabet.count(strand.constant))
    # (something placed, layers drawn up to min_size, kinds drawn, parameters) -> draws
    table: dict[tuple[bool, int, frozenset[str], int], int] = {(False, 0, frozenset(), 0): 1}
    for block in strand.blocks:
        ways: dict[tuple[bool, int, frozenset[str], int], int] = {}
        for fill in block.fills:
            if only is not None and not _within(block, fill.letters, only, strand.spanning):
                continue
            count = sum(weigh(alphabet.count(letter)) for letter in fill.letters)
            key = (fill.live, fill.drawn, fill.covers, count)
            ways[key] = ways.get(key, 0) + fill.weight
        merged: dict[tuple[bool, int, frozenset[str], int], int] = {}
        for (live, drawn, covered, count), number in table.items():
            for (more_live, more, covers, adds), times in ways.items():
                if budget is not None and count + adds + extra > budget and count + adds:
                    continue
                most = min(drawn + more, strand.min_size)
                state = (live or more_live, most, covered | covers, count + adds)
                merged[state] = merged.get(state, 0) + number * times
        table = merged
    empty, filled = 0, dict[int, int]()
    for (live, drawn, covered, count), number in table.items():
        if drawn < strand.min_size or not strand.required <= covered:
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
