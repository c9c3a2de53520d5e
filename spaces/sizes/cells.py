"""Which looks of parts go together under constraints: their cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.relations import Forbid, Relation, values_of
from peftnas.spaces.sizes.assign import Assignment, Unstructured
from peftnas.spaces.sizes.boxes import Boxes
from peftnas.spaces.sizes.closings import closings, drawn_by_layer
from peftnas.spaces.sizes.joint import Cells
from peftnas.spaces.sizes.looks import Look, Narrowing, narrowings

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_CELLS = 40_000

Variants = Mapping[Look, Mapping[Narrowing, int]]
"""Of a part, the number of each variant: what is seen of it, and what is left of that."""

_Left = tuple[Look, Narrowing]


def look(
    bound: BoundSpace,
    assignment: Assignment,
    constraints: Sequence[Relation | Forbid],
    made: Boxes,
) -> Look:
    """What constraints see of an assignment.

    Args:
        bound: the space.
        assignment: of one of its parts.
        constraints: that look at it.
        made: makes its strands.
    Raises:
        Unstructured: if that depends on layers still to be drawn.
    """
    kinds = frozenset(kind for one in constraints for kind in one.kinds)
    paths = list(dict.fromkeys(path for one in constraints for path in one.paths))
    drawn = drawn_by_layer(assignment, paths)
    closed = [bound.placed_once(one) for one in closings(assignment, bound.anatomy.n_layers)]
    named = [path for path in paths if path not in drawn]
    seen = {_seen(one.architecture, kinds, named) for one in closed}
    if len(seen) > 1:
        raise Unstructured
    first = closed[0].architecture
    active = {path: held for path, held in drawn.items() if [*values_of(first, path)]}
    return Look(
        seen.pop(),
        tuple(active.items()),
        made.vanishing(assignment, kinds),
        frozenset(path for path in active if made.hollow(assignment, path)),
        closed[0],
    )


def cells_of(
    bound: BoundSpace,
    looks: Sequence[Sequence[Look]],
    constraints: Sequence[Relation | Forbid],
) -> tuple[list[Variants], Cells]:
    """The variants of each part, and which of them go together.

    Looks of which constraints leave the same beside the same others are one variant.

    Args:
        bound: the space.
        looks: of each part.
        constraints: that look at them.
    Raises:
        Unstructured: if there are too many, or it depends on several draws for layers.
    """
    if math.prod(map(len, looks)) > _CELLS:
        raise Unstructured
    cells: list[tuple[_Left, ...]] = []
    for some in itertools.product(*looks):
        left = narrowings(bound, some, constraints)
        if left is not None:
            cells.append(tuple(zip(some, left, strict=True)))
    numbered = [_numbered(cells, index) for index in range(len(looks))]
    variants: list[dict[Look, dict[Narrowing, int]]] = [{} for _ in looks]
    for known, numbers in zip(variants, numbered, strict=True):
        for (seen, narrowing), number in numbers.items():
            known.setdefault(seen, {})[narrowing] = number
    return [*variants], frozenset(
        tuple(numbers[pair] for numbers, pair in zip(numbered, cell, strict=True))
        for cell in cells
    )


def _numbered(cells: Sequence[tuple[_Left, ...]], index: int) -> dict[_Left, int]:
    """The variants of one part: what is left alike, beside the same of the others."""
    beside: dict[_Left, set[tuple[_Left, ...]]] = {}
    for cell in cells:
        beside.setdefault(cell[index], set()).add(cell[:index] + cell[index + 1 :])
    numbers: dict[tuple[Narrowing, frozenset[tuple[_Left, ...]]], int] = {}
    return {
        left: numbers.setdefault((left[1], frozenset(others)), len(numbers))
        for left, others in beside.items()
    }


def _seen(architecture: Architecture, kinds: frozenset[str], paths: Sequence[str]) -> Any:
    there = sorted(method.kind for method in architecture.methods if method.kind in kinds)
    values = tuple(
        (path, tuple((type(one), one) for one in values_of(architecture, path))) for path in paths
    )
    return tuple(there), values
