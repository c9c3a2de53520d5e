"""The different words of overlapping boxes: a determinised automaton.

A box is what one assignment of the shared fields can place: strands side by side. Boxes overlap
(two assignments may give one architecture), so words are followed layer by layer through all boxes
at once: a state is the set of places in which some box can be after the letters so far. Each word
leads to one state, so that counting paths counts words.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from peftnas.spaces.fields import Configurable
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.draws import at, joined
from peftnas.spaces.sizes.letters import NOTHING, Alphabet, Letter
from peftnas.spaces.sizes.strands import Block, Fill, Methods, Strand

Labels = frozenset[int]
"""Values of the tied gate under which something can be drawn."""

_STEPS = 2_000_000

_Tail = tuple[Letter, ...]
_Place = tuple[bool, int, frozenset[str], _Tail]
"""Of a strand: live, layers drawn (up to ``min_size``), kinds drawn, letters of the block left."""
_Node = tuple[int, tuple[_Place, ...]]
State = tuple[_Node, ...]
"""In one order, whatever the seed of hashes: what is drawn must not depend on it."""

_START: _Place = (False, 0, frozenset(), ())


@dataclass(frozen=True)
class BoxOf:
    """One box: its strands, and the labels under which it can be drawn."""

    strands: tuple[Strand, ...]
    labels: Labels


class Automaton:
    """Reads the words of some boxes.

    Args:
        boxes: any number.
        alphabet: that their letters are of.
        n_layers: layers of the backbone.
    """

    def __init__(self, boxes: Sequence[BoxOf], alphabet: Alphabet, n_layers: int) -> None:
        self._boxes, self.alphabet, self.n_layers = boxes, alphabet, n_layers
        best = _Best()
        self._starts = [[best.starts(one, n_layers) for one in box.strands] for box in boxes]
        self._alike = self._layers_alike()
        self._known: dict[tuple[int, State], dict[Letter, State]] = {}
        self._plain: dict[int, list[Plain] | None] = {}
        self._options: dict[int, Plain] = {}
        self._steps = 0
        self.start: State = tuple(
            (number, (_START,) * len(box.strands)) for number, box in enumerate(boxes)
        )

    def step(self, layer: int, state: State) -> dict[Letter, State]:
        """The letters that some box can have in a layer, in order, and the states after them.

        Raises:
            Unstructured: if there are too many to follow.
        """
        key = (self._alike[layer], state)
        if key not in self._known:
            reached: dict[Letter, set[_Node]] = defaultdict(set)
            for node in state:
                for letter, following, _ in self._ways(layer, node):
                    reached[letter].add(following)
                    self._steps += 1
            if self._steps > _STEPS:
                raise Unstructured
            self._known[key] = {letter: _dominant(reached[letter]) for letter in sorted(reached)}
        return self._known[key]

    def plain(self, state: State) -> tuple[int, list[Plain], int] | None:
        """What a state of one plain strand can still read; ``None`` for other states.

        Each of its words is spelled in one way, so that words can be counted layer by layer.

        Returns:
            Number of the box, its options in each layer, and layers still to be drawn.
        """
        if len(state) != 1:
            return None
        [(number, places)] = state
        if number not in self._plain:
            box = self._boxes[number]
            single = len(box.strands) == 1
            self._plain[number] = self._plain_options(box.strands[0]) if single else None
        options = self._plain[number]
        if options is None:
            return None
        return number, options, self._boxes[number].strands[0].min_size - places[0][1]

    def _plain_options(self, strand: Strand) -> list[Plain] | None:
        """The options of a strand in each layer, where they are all that matters of it."""
        if strand.constant != NOTHING or strand.required:
            return None
        options: list[Plain] = [_NOTHING_ELSE] * self.n_layers
        for block in strand.blocks:
            if len(block.layers) != 1:
                return None
            key = id(block.fills)
            if key not in self._options:
                self._options[key] = _plain(block.fills)
            options[block.layers[0]] = self._options[key]
        return options

    def _layers_alike(self) -> list[int]:
        """For each layer the first one in which every box can go on in the same ways."""
        first: dict[tuple[int, ...], int] = {}
        return [
            first.setdefault(
                tuple(id(starts[layer]) for strands in self._starts for starts in strands), layer
            )
            for layer in range(self.n_layers)
        ]

    def labels(self, number: int) -> Labels:
        """The labels of a box."""
        return self._boxes[number].labels

    def endings(self, state: State) -> dict[Letter, Labels]:
        """The letters outside of the layers with which a word can end, and their labels."""
        found: dict[Letter, Labels] = {}
        for node in state:
            letter = self._ending(node)
            if letter is not None:
                found[letter] = found.get(letter, frozenset()) | self._boxes[node[0]].labels
        return found

    @cached_property
    def empty(self) -> Labels:
        """The labels under which nothing at all can be placed; none: it cannot."""
        state = self.start
        for layer in range(self.n_layers):
            found = self.step(layer, state).get(NOTHING)
            if found is None:
                return frozenset()
            state = found
        return self.endings(state).get(NOTHING, frozenset())

    def methods(self, word: Sequence[Letter]) -> tuple[Configurable, ...]:
        """Methods that place a word of some box."""
        states = [self.start]
        for layer, letter in enumerate(word[:-1]):
            states.append(self.step(layer, states[-1])[letter])
        last = (node for node in states[-1] if self._ending(node) == word[-1])
        node = min(last, key=lambda node: node[0])
        drawn: list[tuple[Methods | None, ...]] = []
        for layer in reversed(range(self.n_layers)):
            node, chosen = self._before(layer, states[layer], word[layer], node)
            drawn.append(tuple(None if fill is None else _in(layer, fill) for fill in chosen))
        return tuple(
            joined(some)
            for strand in zip(*reversed(drawn), strict=True)
            for some in _by_method([methods for methods in strand if methods is not None])
        )

    def _before(
        self, layer: int, state: State, letter: Letter, node: _Node
    ) -> tuple[_Node, tuple[Fill | None, ...]]:
        """A node of a state from which a letter leads to ``node``, and by which fills."""
        for one in state:
            if one[0] == node[0]:
                for by, following, fills in self._ways(layer, one):
                    if by == letter and following == node:
                        return one, fills
        raise AssertionError("every node was reached from one")

    def _ways(
        self, layer: int, node: _Node
    ) -> Iterator[tuple[Letter, _Node, tuple[Fill | None, ...]]]:
        """Letter, node after it and fills for each way that a box can go on."""
        number, places = node
        strands = self._boxes[number].strands
        if len(places) == 1:
            for letter, place, fill in _ways(
                self._starts[number][0][layer], places[0], strands[0].min_size
            ):
                yield letter, (number, (place,)), (fill,)
            return
        ways = [
            _ways(starts[layer], place, strand.min_size)
            for starts, place, strand in zip(self._starts[number], places, strands, strict=True)
        ]
        join = self.alphabet.join
        for combination in itertools.product(*ways):
            letter = NOTHING
            for one, _, _ in combination:
                letter = join(letter, one)
            following = tuple(place for _, place, _ in combination)
            yield letter, (number, following), tuple(fill for _, _, fill in combination)

    def _ending(self, node: _Node) -> Letter | None:
        """The letter outside of the layers; ``None`` where too little was drawn."""
        number, places = node
        letter = NOTHING
        for strand, (live, drawn, covered, _) in zip(
            self._boxes[number].strands, places, strict=True
        ):
            if drawn < strand.min_size or not strand.required <= covered:
                return None
            if live:
                letter = self.alphabet.join(letter, strand.constant)
        return letter


Starts = tuple[Fill, ...] | None
"""In a layer: the fills of a block that begins there; ``None`` where none does."""


Plain = tuple[tuple[Letter, int], ...]
"""In a layer: each letter with the most layers drawn for it."""


_NOTHING_ELSE: Plain = ((NOTHING, 0),)


def _plain(fills: Sequence[Fill]) -> Plain:
    drawn: dict[Letter, int] = {}
    for fill in fills:
        letter = fill.letters[0]
        drawn[letter] = max(drawn.get(letter, 0), fill.drawn)
    return tuple(drawn.items())


class _Best:
    """The fills of blocks, those that reach the same put together; kept for blocks alike."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], tuple[Fill, ...]] = {}

    def starts(self, strand: Strand, n_layers: int) -> list[Starts]:
        """Of each layer; fills that reach the same are one, with the most layers drawn."""
        starts: list[Starts] = [None] * n_layers
        covering = bool(strand.required)
        for block in strand.blocks:
            key = (id(block.fills), covering)
            if len(block.layers) > 1:
                starts[block.layers[0]] = _best(block, covering)
                continue
            if key not in self._known:
                self._known[key] = _best(block, covering)
            starts[block.layers[0]] = self._known[key]
        return starts


def _best(block: Block, covering: bool) -> tuple[Fill, ...]:
    best: dict[Any, Fill] = {}
    for fill in block.fills:
        covers = fill.covers if covering else frozenset[str]()
        key = (_spread(block, fill.letters), fill.live, covers)
        known = best.get(key)
        if known is None or fill.drawn > known.drawn:
            best[key] = Fill(key[0], fill.live, fill.drawn, fill.weight, fill.methods, covers)
    return tuple(best.values())


def _in(layer: int, fill: Fill) -> Methods:
    """The methods of a fill that begins in a layer."""
    if len(fill.letters) > 1:
        return fill.methods
    return tuple(None if one is None else at(one, (layer,)) for one in fill.methods)


def _spread(block: Block, letters: tuple[Letter, ...]) -> tuple[Letter, ...]:
    """Letters of a block with nothing in the layers that it leaves out between its own."""
    if len(letters) == 1:
        return letters
    at = dict(zip(block.layers, letters, strict=True))
    return tuple(at.get(i, NOTHING) for i in range(block.layers[0], block.layers[-1] + 1))


def _ways(
    starts: Starts, place: _Place, min_size: int
) -> list[tuple[Letter, _Place, Fill | None]]:
    """Letter and place after it for each way that a strand can go on."""
    live, drawn, covered, tail = place
    if tail:
        return [(tail[0], (live, drawn, covered, tail[1:]), None)]
    if starts is None:
        return [(NOTHING, place, None)]
    return [
        (
            fill.letters[0],
            (
                live or fill.live,
                min(drawn + fill.drawn, min_size),
                covered | fill.covers,
                fill.letters[1:],
            ),
            fill,
        )
        for fill in starts
    ]


def _dominant(nodes: set[_Node]) -> State:
    """The nodes without those from which another one reaches as much and more."""
    if len(nodes) == 1:
        return tuple(nodes)
    best: dict[Any, int] = {}
    for number, places in nodes:
        if len(places) == 1:
            live, drawn, covered, tail = places[0]
            key = (number, live, covered, tail)
            best[key] = max(best.get(key, 0), drawn)
    kept = (
        (number, places)
        for number, places in nodes
        if len(places) != 1
        or best[number, places[0][0], places[0][2], places[0][3]] == places[0][1]
    )
    return tuple(sorted(kept, key=_order))


def _order(node: _Node) -> tuple[Any, ...]:
    number, places = node
    return number, [(live, drawn, sorted(kinds), tail) for live, drawn, kinds, tail in places]


def _by_method(rows: Sequence[Methods]) -> Iterator[list[Configurable]]:
    """The draws of each method of a strand, without the blocks in which it is absent.

    One that is in no layer at all may still place something outside of them.
    """
    for column in zip(*rows, strict=True):
        present = [one for one in column if one is not None]
        drawn = [one for one in present if getattr(one, "layers", None) != ()]
        if present:
            yield drawn or present[:1]
