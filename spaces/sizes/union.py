"""How many different outcomes a set of boxes has, although boxes may overlap."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.boxes import NOTHING, Box, Content
from peftnas.spaces.sizes.tally import Distribution, add

_GROUPS = 300
_PAIRS = 200_000

Gates = frozenset[int]


@dataclass(frozen=True)
class Union:
    """The different outcomes of one part of a space.

    Attributes:
        by_gate: for each value of the tied gate, outcomes that place something, by count.
        common: those that every value of the gate gives.
        empty: the gate values under which the part can place nothing.
    """

    by_gate: tuple[Distribution, ...]
    common: Distribution
    empty: Gates


def unions(boxes: Mapping[Box, Gates], n_gates: int, budget: int | None) -> tuple[Union, Union]:
    """Lower and upper bound of the union, equal when no two boxes overlap.

    Args:
        boxes: each box with the gate values that give it.
        n_gates: number of gate values.
        budget: outcomes with more parameters are left out.
    Raises:
        Unstructured: if it cannot be told which boxes overlap.
    """
    pool = _pool(boxes)
    if any(1 < len(gates) < n_gates for gates in pool.values()):
        raise Unstructured
    _check_spanning(pool)
    pairs = list(_overlaps(pool))
    contained = {one for one, other, inside in pairs if inside and pool[one] <= pool[other]}
    clashes = [(a, b) for a, b, _ in pairs if a not in contained and b not in contained]
    fills = {box: _fill(box, budget) for box in {**boxes, **pool}}
    empty = frozenset(gate for box, gates in boxes.items() if fills[box][1] for gate in gates)
    kept = {box: gates for box, gates in pool.items() if box not in contained}
    removed: set[Box] = set()
    for one, other in clashes:
        if one not in removed and other not in removed:
            removed.add(one)
    fewer = {box: gates for box, gates in kept.items() if box not in removed}
    low, high = (_sum(some, fills, n_gates, empty) for some in (fewer, kept))
    return low, high


def _sum(
    pool: Mapping[Box, Gates],
    fills: Mapping[Box, tuple[Distribution, bool]],
    n_gates: int,
    empty: Gates,
) -> Union:
    by_gate = tuple(
        add(*(fills[box][0] for box, gates in pool.items() if gate in gates))
        for gate in range(n_gates)
    )
    common = add(*(fills[box][0] for box, gates in pool.items() if len(gates) == n_gates))
    return Union(by_gate, common, empty)


def _pool(boxes: Mapping[Box, Gates]) -> dict[Box, Gates]:
    """The boxes that place something; "the constant part alone" becomes a box of its own."""
    pool: dict[Box, Gates] = {}
    for box, gates in boxes.items():
        if box.blocks and box.constant and _constant_alone(box):
            alone = Box(box.constant, box.constant_count, kinds=box.kinds)
            pool[alone] = pool.get(alone, frozenset()) | gates
        if box.blocks or box.constant:
            pool[box] = pool.get(box, frozenset()) | gates
    return pool


def _fill(box: Box, budget: int | None) -> tuple[Distribution, bool]:
    """Outcomes of a box that place something in a block, by count; whether it can be empty."""
    if not box.blocks:
        return ({box.constant_count: 1}, False) if box.constant else ({}, True)
    table = {(False, 0, 0): 1}
    for options in box.blocks:
        merged: dict[tuple[bool, int, int], int] = {}
        for option in options:
            drawn_here = max(d for d in (option.idle, option.live) if d is not None)
            for (some, drawn, count), number in table.items():
                total = count + option.count
                if budget is not None and total + box.constant_count > budget and total:
                    continue
                state = (
                    some or bool(option.content),
                    min(drawn + drawn_here, box.min_size),
                    total,
                )
                merged[state] = merged.get(state, 0) + number
        table = merged
    filled: Distribution = {}
    for (some, drawn, count), number in table.items():
        if some and drawn == box.min_size:
            total = count + box.constant_count
            filled[total] = filled.get(total, 0) + number
    idle = [_bare(options, "idle") for options in box.blocks]
    can_be_empty = all(d is not None for d in idle) and sum(d or 0 for d in idle) >= box.min_size
    return filled, can_be_empty


def _constant_alone(box: Box) -> bool:
    """Whether the constant part can be there with nothing in any block."""
    idle = [_bare(options, "idle") for options in box.blocks]
    live = [_bare(options, "live") for options in box.blocks]
    most = [
        max((d for d in pair if d is not None), default=None)
        for pair in zip(idle, live, strict=True)
    ]
    if any(d is None for d in most):
        return False
    total = sum(d or 0 for d in most)
    return any(
        here is not None and total - (top or 0) + here >= box.min_size
        for here, top in zip(live, most, strict=True)
    )


def _bare(options: frozenset[Any], state: str) -> int | None:
    """Most layers drawn in a block with nothing beyond the constant part."""
    return next((getattr(o, state) for o in options if not o.content), None)


def _check_spanning(pool: Mapping[Box, Gates]) -> None:
    """A placement over several layers is known by its blocks only: all must be cut alike."""
    placing = [box for box in pool if _reach([box])]
    for box in placing:
        if box.spanning:
            for other in placing:
                if other.kinds & box.kinds and other.layers != box.layers:
                    raise Unstructured


def _overlaps(pool: Mapping[Box, Gates]) -> Iterator[tuple[Box, Box, bool]]:
    """Pairs of boxes with a common outcome, and whether the first lies inside the second."""
    groups: dict[tuple[Any, Content], list[Box]] = defaultdict(list)
    for box in pool:
        if box.blocks:
            groups[box.layers, box.constant].append(box)
    if len(groups) > _GROUPS:
        raise Unstructured
    reach = {key: _reach(boxes) for key, boxes in groups.items()}
    for box in pool:
        if not box.blocks:
            for key, boxes in groups.items():
                if key[1] <= box.constant <= reach[key]:
                    yield from ((box, other, True) for other in boxes if _holds(other, box))
    for boxes in groups.values():
        yield from _same_cut(boxes)
    keys = list(groups)
    for i, one in enumerate(keys):
        for other in keys[:i]:
            if one[1] <= reach[other] and other[1] <= reach[one]:
                yield from (
                    (a, b, False)
                    for a in groups[one]
                    for b in groups[other]
                    if a.constant <= _reach([b])
                    and b.constant <= _reach([a])
                    and _reach([a]) & _reach([b])
                )


def _same_cut(boxes: list[Box]) -> Iterator[tuple[Box, Box, bool]]:
    """Overlaps among boxes with the same blocks and constant part."""
    shown: dict[tuple[int, Content], list[Box]] = defaultdict(list)
    for box in boxes:
        for i, options in enumerate(box.blocks):
            for option in options:
                if option.content:
                    shown[i, option.content].append(box)
    if sum(len(some) ** 2 for some in shown.values() if len(some) > 1) > _PAIRS:
        raise Unstructured
    seen = set()
    for some in shown.values():
        for i, one in enumerate(some):
            for other in some[:i]:
                if (pair := frozenset((id(one), id(other)))) not in seen:
                    seen.add(pair)
                    yield from _compare(one, other)


def _compare(one: Box, other: Box) -> Iterator[tuple[Box, Box, bool]]:
    sides = [[{o.content for o in options} for options in box.blocks] for box in (one, other)]
    if all(a & b for a, b in zip(*sides, strict=True)):
        if _inside(one, other):
            yield one, other, True
        else:
            yield other, one, _inside(other, one)


def _inside(one: Box, other: Box) -> bool:
    """Whether every outcome of ``one`` is one of ``other``, both cut alike."""
    for mine, theirs in zip(one.blocks, other.blocks, strict=True):
        drawn = {option.content: max(option.idle or 0, option.live or 0) for option in theirs}
        for option in mine:
            most = max(option.idle or 0, option.live or 0)
            if option.content not in drawn or (other.min_size and most > drawn[option.content]):
                return False
    return other.min_size <= one.min_size or other.min_size == 0


def _holds(box: Box, single: Box) -> bool:
    """Whether the one outcome of ``single`` is one of ``box``."""
    rest = single.constant - box.constant
    drawn = 0
    used: Content = NOTHING
    for options in box.blocks:
        here = frozenset(part for part in rest if any(part in o.content for o in options))
        option = next((o for o in options if o.content == here), None)
        if option is None:
            return False
        drawn += max(option.idle or 0, option.live or 0)
        used |= here
    return bool(rest) and used == rest and drawn >= box.min_size


def _reach(boxes: list[Box]) -> Content:
    """Every placement of some outcome."""
    return frozenset(
        part
        for box in boxes
        for part in box.constant.union(*(o.content for options in box.blocks for o in options))
    )
