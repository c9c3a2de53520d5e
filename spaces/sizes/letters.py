"""What an architecture places, spelled as a word: one letter for each layer, one for the rest.

Architectures with different ``train_key`` are different words. A letter is a number that stands
for a multiset of placements and their trainable parameters; 0 is the empty one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from peftnas.spaces.architecture import Placement

_LAYER = re.compile(r"layers\[(\d+)\]")

Letter = int
Word = tuple[Letter, ...]
"""The letters of layers 0 .. L - 1, then the letter of what stands outside of them."""

NOTHING: Letter = 0


class Alphabet:
    """Gives out letters; the same content has the same letter."""

    def __init__(self) -> None:
        self._numbers: dict[Placement, int] = {}
        self._contents: list[tuple[int, ...]] = [()]
        self._counts: list[int] = [0]
        self._letters: dict[tuple[tuple[int, ...], int], Letter] = {((), 0): NOTHING}
        self._joined: dict[tuple[Letter, Letter], Letter] = {}

    def letter(self, placements: Iterable[Placement], count: int | None = None) -> Letter:
        """The letter of some placements.

        Args:
            placements: any order, each as often as it is placed.
            count: their parameters, where these are not simply the sum.
        """
        numbers, total = [], 0
        for part in placements:
            number = self._numbers.setdefault(part, len(self._numbers))
            numbers.append(number)
            total += part.count() if count is None else 0
        return self._known(tuple(sorted(numbers)), total if count is None else count)

    def join(self, one: Letter, other: Letter) -> Letter:
        """The letter of both contents together."""
        if not one or not other:
            return one or other
        pair = (one, other)
        if pair not in self._joined:
            content = tuple(sorted(self._contents[one] + self._contents[other]))
            self._joined[pair] = self._known(content, self._counts[one] + self._counts[other])
        return self._joined[pair]

    def count(self, letter: Letter) -> int:
        """Trainable parameters of a letter."""
        return self._counts[letter]

    def _known(self, content: tuple[int, ...], count: int) -> Letter:
        key = (content, count)
        if key not in self._letters:
            self._letters[key] = len(self._contents)
            self._contents.append(content)
            self._counts.append(count)
        return self._letters[key]


def by_layer(placements: Iterable[Placement]) -> dict[int | None, list[Placement]]:
    """Placements by the layer in their address; ``None``: outside the layers."""
    found: dict[int | None, list[Placement]] = {}
    for part in placements:
        address = _LAYER.match(part.site)
        found.setdefault(int(address[1]) if address else None, []).append(part)
    return found


def same(one: Iterable[Placement], other: Iterable[Placement]) -> bool:
    """Whether both are the same placements, each as often."""
    return Counter(one) == Counter(other)
