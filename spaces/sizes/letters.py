"""What an architecture places, spelled as a word: one letter for each layer, one for the rest.

Architectures with different ``train_key`` are different words. A letter is a number that stands
for a multiset of placements and their trainable parameters; 0 is the empty one. Where it stands in
a word says its layer, so that equal modules of two layers have one letter.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Hashable, Iterable

from peftnas.spaces.architecture import Placement

_LAYER = re.compile(r"layers\[(\d+)\]")

Letter = int
Word = tuple[Letter, ...]
"""The letters of layers 0 .. L - 1, then the letter of what stands outside of them."""

NOTHING: Letter = 0


class Alphabet:
    """Gives out letters; the same content has the same letter."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._at: dict[tuple[int | None, Placement], int] = {}
        self._contents: list[tuple[int, ...]] = [()]
        self._counts: list[int] = [0]
        self._letters: dict[tuple[tuple[int, ...], int], Letter] = {((), 0): NOTHING}
        self._joined: dict[tuple[Letter, Letter], Letter] = {}

    def letter(
        self, placements: Iterable[Placement], count: int | None = None, layer: int | None = None
    ) -> Letter:
        """The letter of some placements.

        Args:
            placements: any order, each as often as it is placed.
            count: their parameters, where these are not simply the sum.
            layer: in which it stands; ``None``: outside of the layers.
        """
        numbers, total = [], 0
        for part in placements:
            numbers.append(self._number(part, layer))
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

    def _number(self, part: Placement, layer: int | None) -> int:
        """The number of a placement: in its own layer, of one that does not say which this is."""
        at = (layer, part)
        if at not in self._at:
            own = layer is not None and part.site.startswith(f"layers[{layer}]")
            key = _without_layer(part, layer) if own else part
            self._at[at] = self._numbers.setdefault(key, len(self._numbers))
        return self._at[at]

    def _known(self, content: tuple[int, ...], count: int) -> Letter:
        key = (content, count)
        if key not in self._letters:
            self._letters[key] = len(self._contents)
            self._contents.append(content)
            self._counts.append(count)
        return self._letters[key]


def _without_layer(part: Placement, layer: int | None) -> Hashable:
    """What a placement is, whichever layer it stands in."""
    if not dataclasses.is_dataclass(part):
        return part
    held = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    held["site"] = _LAYER.sub("", part.site, count=1)
    if held.get("layers") == (layer,):
        held["layers"] = "its own"
    return (type(part), *held.items())


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
