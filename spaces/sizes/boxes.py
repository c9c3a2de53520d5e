"""What one assignment of the shared fields can place, block of layers by block of layers.

Layers that share a ``PerGroup`` draw form one block; otherwise each layer is one. What a method
places in a block must not depend on the other blocks, apart from a constant part that is there
as soon as one block is active (bias vectors outside the layers, a network shared by them). This
is checked for each assignment on two blocks and on all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture, Placement
from peftnas.spaces.domains import Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.sizes.assign import Assignment, Unstructured, is_open
from peftnas.spaces.sizes.tally import Distribution
from peftnas.spaces.structure import ByLayer, PerGroup, PerLayer
from peftnas.spaces.tree import Walk
from peftnas.spaces.tree_nodes import Leaf, possible_layers

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

Content = frozenset[tuple[Placement, int]]
"""Placements with how often each occurs."""

NOTHING: Content = frozenset()

_WALKS_OF_A_BLOCK = 5_000
_LAYER = re.compile(r"layers\[(\d+)\]")


@dataclass(frozen=True)
class Option:
    """One way to fill a block: what it adds to the constant part.

    Attributes:
        content: placements beyond the constant part.
        count: their trainable parameters.
        idle: most layers that can be drawn with this content while the constant part stays
            absent; ``None`` if it cannot.
        live: the same with the constant part present.
    """

    content: Content
    count: int
    idle: int | None
    live: int | None


@dataclass(frozen=True)
class Box:
    """All that one assignment can place: a constant part and one option of each block.

    Attributes:
        constant: placements that are there as soon as one block is active.
        constant_count: trainable parameters that are there then.
        blocks: the options of each block.
        layers: the layers of each block.
        min_size: fewest layers that must be drawn.
        spanning: whether a placement covers several layers, so that the options' placements only
            stand for it.
        kinds: kinds of the methods.
        raw: points by count, those that place nothing under ``raw_empty``.
    """

    constant: Content
    constant_count: int
    blocks: tuple[frozenset[Option], ...] = ()
    layers: tuple[tuple[int, ...], ...] = ()
    min_size: int = 0
    spanning: bool = False
    kinds: frozenset[str] = field(default=frozenset(), compare=False)
    raw: Distribution = field(default_factory=dict, compare=False)
    raw_empty: int = field(default=0, compare=False)


def box(bound: BoundSpace, assignment: Assignment) -> Box:
    """The box of an assignment.

    Raises:
        Unstructured: if layers depend on each other, or several methods leave layers open.
    """
    if not any(map(is_open, assignment.methods)):
        placed = bound.placed_once(Architecture(*assignment.methods))
        content = contents(placed.placements)
        if not content:
            return Box(NOTHING, 0, raw_empty=1)
        kinds = frozenset(method.kind for method in placed.architecture.methods)
        return Box(content, placed.count, kinds=kinds, raw={placed.count: 1})
    if len(assignment.methods) != 1:
        raise Unstructured
    return _Opened(bound, assignment.methods[0]).box()


def contents(placements: tuple[Placement, ...]) -> Content:
    """Placements as a set that remembers repetitions."""
    return frozenset(Counter(placements).items())


@dataclass(frozen=True)
class _Fill:
    """One raw draw in one block."""

    method: Configurable
    n_active: int
    content: Content
    count: int


class _Opened:
    """One method with open layers."""

    def __init__(self, bound: BoundSpace, method: Configurable) -> None:
        if not hasattr(method, "layers"):
            raise Unstructured  # cannot be looked at in one layer alone
        self._bound, self._method, self._held = bound, method, method.layers
        self._n_layers = bound.anatomy.n_layers
        self._blocks = _blocks(method, possible_layers(self._held, self._n_layers), self._n_layers)

    def box(self) -> Box:
        addressed = self._by_address()
        if addressed is None:
            fills = [list(self._fills(block)) for block in self._blocks]
            constant, constant_count, spanning = self._checked(fills, self._constant(fills))
        else:
            fills, constant = addressed
            constant_count, spanning = sum(part.count() * n for part, n in constant), False
        blocks = tuple(_options(block, constant, constant_count) for block in fills)
        min_size = self._held.min_size if isinstance(self._held, Subset) else 0
        raw, raw_empty = _raw(fills, constant_count, min_size)
        return Box(
            constant,
            constant_count,
            blocks,
            self._blocks,
            min_size,
            spanning,
            frozenset({self._method.kind}),
            raw,
            raw_empty,
        )

    def _by_address(self) -> tuple[list[list[_Fill]], Content] | None:
        """Fills and constant part, read off the addresses of one placing in all layers.

        Only where nothing but the layers is open, and the first and the last layer placed alone
        give the same.
        """
        method = self._method
        structured = [PerLayer, PerGroup]
        if any(type(getattr(method, name)) in structured for name in settings(type(method))):
            return None
        layers = [layer for block in self._blocks for layer in block]
        parts: dict[int | None, list[Placement]] = {layer: [] for layer in (None, *layers)}
        full = method.replace(layers=tuple(layers))
        for part in self._bound.placed_once(Architecture(full)).placements:
            address = _LAYER.match(part.site)
            parts[int(address[1]) if address else None].append(part)
        if len(layers) < 2 or not all(parts[layer] for layer in layers):
            return None
        if parts[None] and self._bound.placed_once(Architecture(method.replace(layers=()))).count:
            return None
        for layer in (layers[0], layers[-1]):
            alone = self._bound.placed_once(Architecture(method.replace(layers=(layer,))))
            if contents(alone.placements) != contents((*parts[None], *parts[layer])):
                return None
        nothing = _Fill(method, 0, NOTHING, 0)
        fills = []
        for layer in layers:
            here = (*parts[None], *parts[layer])
            count = sum(part.count() for part in here)
            fills.append([nothing, _Fill(method, 1, contents(here), count)])
        return fills, contents(tuple(parts[None]))

    def _fills(self, block: tuple[int, ...]) -> Iterator[_Fill]:
        """Every raw draw in one block, the other layers left out."""
        subset = isinstance(self._held, Subset)
        layers = Subset(*block, min_size=0) if subset else block
        leaf = Leaf("block", self._method.replace(layers=layers))

        def run(choose: Any) -> Configurable:
            return Walk(choose, self._n_layers, None).method(leaf)

        drawn = list(islice(walks(run), _WALKS_OF_A_BLOCK + 1))
        if len(drawn) > _WALKS_OF_A_BLOCK:
            raise Unstructured
        for method in drawn:
            placed = self._bound.placed_once(Architecture(method))
            active = len(method.layers)  # type: ignore[attr-defined]
            yield _Fill(method, active, contents(placed.placements), placed.count)

    def _constant(self, fills: list[list[_Fill]]) -> Content:
        """The placements that every active block shows."""
        if len(fills) == 1:
            return NOTHING
        shown = [fill.content for block in fills for fill in block if fill.content]
        return frozenset.intersection(*shown) if shown else NOTHING

    def _checked(self, fills: list[list[_Fill]], constant: Content) -> tuple[Content, int, bool]:
        """Constant part, its count, and whether placements span layers; all checked by placing."""
        if len(fills) == 1:
            return NOTHING, 0, False
        fullest = [max(block, key=lambda fill: fill.count) for block in fills]
        filled = [fill for fill in fullest if fill.content]
        if len(filled) < 2:
            return constant, sum(part.count() * n for part, n in constant), False
        pair = [filled[0], filled[-1]]
        together = self._placed(pair)
        count = sum(fill.count for fill in pair) - together.count
        everything = self._placed(filled)
        if everything.count != count + sum(fill.count - count for fill in filled):
            raise Unstructured
        unions = [
            contents(placed.placements)
            == constant.union(*(fill.content - constant for fill in some))
            for placed, some in ((together, pair), (everything, filled))
        ]
        if all(unions) and count == sum(part.count() * n for part, n in constant):
            return constant, count, False
        if constant:
            raise Unstructured
        return constant, count, True

    def _placed(self, fills: list[_Fill]) -> Any:
        """Several blocks filled at once."""
        layers = sorted(layer for fill in fills for layer in fill.method.layers)  # type: ignore[attr-defined]
        changes: dict[str, Any] = {"layers": tuple(layers)}
        for name in settings(type(self._method)):
            if isinstance(getattr(self._method, name), PerLayer | PerGroup):
                changes[name] = ByLayer(
                    {i: v for fill in fills for i, v in getattr(fill.method, name).items()}
                )
        return self._bound.placed_once(Architecture(fills[0].method.replace(**changes)))


def _blocks(
    method: Configurable, layers: tuple[int, ...], n_layers: int
) -> tuple[tuple[int, ...], ...]:
    """The layers, those joined that share a group of some field."""
    group = {layer: {layer} for layer in layers}
    for name in settings(type(method)):
        held = getattr(method, name)
        if isinstance(held, PerGroup):
            for one in layers:
                for other in layers:
                    if held.group_of(one, n_layers) == held.group_of(other, n_layers):
                        joined = group[one] | group[other]
                        for layer in joined:
                            group[layer] = joined
    return tuple(sorted({tuple(sorted(joined)) for joined in group.values()}))


def _options(fills: list[_Fill], constant: Content, constant_count: int) -> frozenset[Option]:
    found: dict[Content, tuple[int, int | None, int | None]] = {}
    for fill in fills:
        live = bool(fill.content)
        beyond = fill.content - constant
        count = fill.count - constant_count if live else 0
        known = found.get(beyond, (count, None, None))
        if known[0] != count:
            raise Unstructured
        most = [known[1], known[2]]
        held = most[live]
        most[live] = fill.n_active if held is None else max(held, fill.n_active)
        found[beyond] = (count, most[0], most[1])
    return frozenset(Option(content, *facts) for content, facts in found.items())


def _raw(fills: list[list[_Fill]], constant_count: int, min_size: int) -> tuple[Distribution, int]:
    """Points by count, and those that place nothing."""
    table = {(False, 0, 0): 1}  # (something placed, layers drawn up to min_size, count) -> points
    for block in fills:
        kinds = Counter(
            (bool(f.content), f.n_active, f.count - constant_count if f.content else 0)
            for f in block
        )
        merged: dict[tuple[bool, int, int], int] = {}
        for (live, drawn, count), number in table.items():
            for (more_live, more_drawn, more_count), times in kinds.items():
                most = min(drawn + more_drawn, min_size)
                state = (live or more_live, most, count + more_count)
                merged[state] = merged.get(state, 0) + number * times
        table = merged
    raw: Distribution = {}
    empty = 0
    for (live, drawn, count), number in table.items():
        if drawn == min_size and live:
            raw[count + constant_count] = raw.get(count + constant_count, 0) + number
        elif drawn == min_size:
            empty += number
    return raw, empty
