"""How many words of an automaton weigh how much, their range, and draws among them."""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections import defaultdict

from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.automaton import Automaton, Labels, Plain, State
from peftnas.spaces.sizes.letters import NOTHING, Letter
from peftnas.spaces.sizes.points import Outcomes, Weigh
from peftnas.spaces.sizes.tally import Distribution, add

Table = dict[Labels, Distribution]
"""Labels -> weight -> number of words."""

_TERMS = 5_000_000

_Group = tuple[int, Table, list[tuple[Letter, State]]]
"""What letters weigh, the words behind them, and each of these letters with its state."""

_Range = tuple[float, int, int]
"""Fewest parameters of what places something, fewest of all, most."""


class Tables:
    """The words of an automaton by labels and by what they weigh.

    Args:
        automaton: reads them.
        weigh: what the parameters of a letter count as.
        budget: words that weigh more are left out.
        only: layers in which something may be placed; ``None``: all.
    """

    def __init__(
        self,
        automaton: Automaton,
        weigh: Weigh,
        budget: int | None = None,
        only: frozenset[int] | None = None,
    ) -> None:
        self._automaton, self._weigh = automaton, weigh
        self._budget, self._only = budget, only
        self._known: dict[tuple[int, State], Table] = {}
        self._plain: dict[tuple[Labels, int, int], Table] = {}
        self._terms = 0
        self._groups: dict[tuple[int, State], list[_Group]] = {}
        self._sums: dict[tuple[int, State, frozenset[Labels], int], list[int]] = {}
        # what is left of plain strands: numbered by its ways in the next layer and what follows
        self._rests: dict[tuple[tuple[tuple[int, int], ...], int], int] = {}
        self._ways: dict[int, tuple[tuple[tuple[int, int], ...], int]] = {}
        self._chains: dict[int, list[int]] = {}
        self._sorted: dict[tuple[int, bool], tuple[tuple[int, int], ...]] = {}
        self._numbers: dict[tuple[int, int], Distribution] = {}

    def under(self, *gates: int) -> Outcomes:
        """The words that each of these gates gives, apart the one that places nothing.

        Raises:
            Unstructured: if there are too many different weights to follow.
        """
        filled: Distribution = {}
        for labels, counts in self._table(0, self._automaton.start).items():
            if labels.issuperset(gates):
                filled = add(filled, counts)
        if not self._automaton.empty.issuperset(gates):
            return Outcomes(0, filled)
        filled[0] -= 1
        return Outcomes(1, {count: number for count, number in filled.items() if number})

    @property
    def by_labels(self) -> Table:
        """All words."""
        return self._table(0, self._automaton.start)

    @property
    def empty(self) -> Labels:
        """The labels of the word that places nothing."""
        return self._automaton.empty

    def draw(
        self, rng: random.Random, gate: int, weight: int
    ) -> tuple[tuple[Configurable, ...], Labels]:
        """Methods of a word, and all its labels; every word of that weight equally likely.

        Args:
            rng: decides.
            gate: one of the labels that the word has.
            weight: of the word; there is one.
        """
        among = frozenset(labels for labels in self.by_labels if gate in labels)
        return self.draw_of(rng, among, weight)

    def draw_of(
        self, rng: random.Random, among: frozenset[Labels], weight: int
    ) -> tuple[tuple[Configurable, ...], Labels]:
        """:meth:`draw` of a word whose labels are, all together, one of ``among``."""
        automaton, word, left = self._automaton, list[Letter](), weight
        state = automaton.start
        for layer in range(automaton.n_layers):
            letter, state = self._drawn(rng, layer, state, among, left)
            word.append(letter)
            left -= self._weight(letter)
        endings = [
            (letter, labels)
            for letter, labels in automaton.endings(state).items()
            if labels in among and self._weight(letter) == left
        ]
        last, labels = rng.choice(sorted(endings, key=lambda pair: pair[0]))
        return automaton.methods([*word, last]), labels

    def _drawn(
        self, rng: random.Random, layer: int, state: State, among: frozenset[Labels], left: int
    ) -> tuple[Letter, State]:
        """A letter, by how many words of a weight go on with it, and the state after it."""
        groups = self._grouped(layer, state)
        key = (layer, state, among, left)
        if key not in self._sums:
            numbers = [
                len(ways) * _number(table, among, left - weight) for weight, table, ways in groups
            ]
            self._sums[key] = list(itertools.accumulate(numbers))
        sums = self._sums[key]
        _, _, ways = groups[bisect_right(sums, rng.randrange(sums[-1]))]
        return rng.choice(ways)

    def _grouped(self, layer: int, state: State) -> list[_Group]:
        """Letters and states after them by the weight of the letter and the words behind it."""
        key = (layer, state)
        if key not in self._groups:
            nothing_more = self._only is not None and layer not in self._only
            found: dict[tuple[int, int], _Group] = {}
            for letter, following in self._automaton.step(layer, state).items():
                if letter == NOTHING or not nothing_more:
                    table, weight = self._table(layer + 1, following), self._weight(letter)
                    group = found.setdefault((weight, id(table)), (weight, table, []))
                    group[2].append((letter, following))
            self._groups[key] = list(found.values())
        return self._groups[key]

    def _table(self, layer: int, state: State) -> Table:
        plain = self._automaton.plain(state)
        if plain is not None:
            return self._plainly(layer, *plain)
        key = (layer, state)
        if key not in self._known:
            self._known[key] = self._counted(layer, state)
        return self._known[key]

    def _plainly(self, layer: int, number: int, options: list[Plain], missing: int) -> Table:
        """Words of a plain strand from a layer on, with so many layers still to be drawn.

        Strands that weigh alike share their numbers.

        Args:
            layer: from which on.
            number: of the box.
            options: of its strand, layer by layer.
            missing: layers that must be drawn yet.
        """
        if number not in self._chains:
            chain = [0]
            for behind in reversed(range(len(options))):
                nothing_more = self._only is not None and behind not in self._only
                key = (self._weighed(options[behind], nothing_more), chain[-1])
                chain.append(self._rests.setdefault(key, len(self._rests) + 1))
                self._ways[chain[-1]] = key
            self._chains[number] = chain[::-1]
        labels, rest = self._automaton.labels(number), self._chains[number][layer]
        missing = max(missing, 0)
        if (labels, rest, missing) not in self._plain:
            self._plain[labels, rest, missing] = {labels: self._rest(rest, missing)}
        return self._plain[labels, rest, missing]

    def _weighed(self, options: Plain, nothing_more: bool) -> tuple[tuple[int, int], ...]:
        """Options of a layer by what they weigh, and what they draw."""
        alike = (id(options), nothing_more)
        if alike not in self._sorted:
            ways = sorted(
                (self._weight(letter), drawn)
                for letter, drawn in options
                if letter == NOTHING or not nothing_more
            )
            self._sorted[alike] = tuple(ways)
        return self._sorted[alike]

    def _rest(self, rest: int, missing: int) -> Distribution:
        if rest == 0:
            return {} if missing else {0: 1}
        key = (rest, missing)
        if key not in self._numbers:
            ways, following = self._ways[rest]
            total: Distribution = {}
            for weight, drawn in ways:
                counts = self._rest(following, max(missing - drawn, 0))
                self._terms += len(counts)
                for count, number in counts.items():
                    if self._budget is None or count + weight <= self._budget:
                        total[count + weight] = total.get(count + weight, 0) + number
            self._numbers[key] = total
        return self._numbers[key]

    def _counted(self, layer: int, state: State) -> Table:
        total: dict[Labels, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        if layer == self._automaton.n_layers:
            for letter, labels in self._automaton.endings(state).items():
                total[labels][self._weight(letter)] += 1
        else:
            for weight, table, ways in self._grouped(layer, state):
                number = len(ways)
                for labels, counts in table.items():
                    here = total[labels]
                    self._terms += len(counts)
                    for count, words in counts.items():
                        if self._budget is None or count + weight <= self._budget:
                            here[count + weight] += number * words
        if self._terms > _TERMS:
            raise Unstructured
        return {labels: dict(counts) for labels, counts in total.items()}

    def _weight(self, letter: Letter) -> int:
        return self._weigh(self._automaton.alphabet.count(letter))


def ranges(automaton: Automaton) -> dict[Labels, tuple[int, int]]:
    """Fewest and most trainable parameters of the words that place something, by labels."""
    found: dict[tuple[int, State], dict[Labels, _Range]] = {}
    count = automaton.alphabet.count

    def below(layer: int, state: State) -> dict[Labels, _Range]:
        key = (layer, state)
        if key in found:
            return found[key]
        if layer == automaton.n_layers:
            ended: _Range = (math.inf, 0, 0)
            ways = [(count(a), {labels: ended}) for a, labels in automaton.endings(state).items()]
        else:
            step = automaton.step(layer, state)
            ways = [(count(a), below(layer + 1, following)) for a, following in step.items()]
        ends: dict[Labels, _Range] = {}
        for more, known in ways:
            for labels, (low, least, most) in known.items():
                # behind a letter that counts, nothing more is the least
                here = (more + least if more else low, more + least, more + most)
                one, two, three = ends.get(labels, here)
                ends[labels] = (min(one, here[0]), min(two, here[1]), max(three, here[2]))
        found[key] = ends
        return ends

    whole = below(0, automaton.start)
    return {labels: (int(low), most) for labels, (low, _, most) in whole.items() if most}


def _number(table: Table, among: frozenset[Labels], weight: int) -> int:
    """Words of a weight with some labels."""
    return sum(counts.get(weight, 0) for labels, counts in table.items() if labels in among)
