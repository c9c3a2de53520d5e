"""Counting a space by its structure: part by part, assignment by assignment, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.sizes.assign import Unstructured, assignments, parts
from peftnas.spaces.sizes.boxes import Box, box
from peftnas.spaces.sizes.tally import Distribution, add, extremes, number_within
from peftnas.spaces.sizes.union import Union, unions
from peftnas.spaces.tree_nodes import Fork, Node, Presence

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_ASSIGNMENTS = 40_000

Bounds = tuple[int, int]


@dataclass
class _Part:
    """What one part of the space can give."""

    boxes: dict[Box, frozenset[int]] = field(default_factory=dict)
    ungated: Distribution = field(default_factory=dict)
    ungated_empty: int = 0
    gated: list[Distribution] = field(default_factory=list)
    gated_empty: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Structural:
    """Bounds of the number of architectures and points, and the range of their parameters."""

    distinct: Bounds
    raw: Bounds
    parameters: Bounds | None


def count_structure(
    bound: BoundSpace, groups: Sequence[Sequence[Node]] | None = None
) -> Structural:
    """Count a bound space without listing its points.

    Args:
        bound: the space.
        groups: items that have nothing to do with the other groups; default: all, as found by
            ``parts``.
    Raises:
        Unstructured: if it does not have the structure that this needs.
    """
    values = _gate_values(bound)
    found = [_part(bound, nodes, values) for nodes in groups or parts(bound)]
    sides = [unions(part.boxes, len(values), bound.max_parameters) for part in found]
    low, high = ([side[i] for side in sides] for i in (0, 1))
    distinct = _distinct(bound, low, len(values))[0], _distinct(bound, high, len(values))[1]
    raw = _raw(bound, found, len(values))
    return Structural(distinct, raw, _parameters(bound, high, len(values)))


def count_unlimited(bound: BoundSpace) -> int:
    """Number of points, constraints aside; items may depend on each other.

    Raises:
        Unstructured: if layers of one item depend on each other.
    """
    values = _gate_values(bound)
    found = [_part(bound, (node,), values) for node in bound.nodes]
    return _raw_within(found, len(values), None)[0]


def apart(bound: BoundSpace) -> list[tuple[Node, ...]]:
    """Groups of items that leave out what can be absent where items depend on each other."""
    groups = []
    for nodes in parts(bound):
        needed = tuple(node for node in nodes if not _can_be_absent(node))
        groups.append(nodes if len(nodes) == 1 else needed or nodes[-1:])
    return groups


def _can_be_absent(node: Node) -> bool:
    if isinstance(node, Fork):
        return any(option is None for _, option in node.options)
    return isinstance(node, Presence)


def _gate_values(bound: BoundSpace) -> tuple[Any, ...]:
    gate = bound.space.gate
    return gate.options if isinstance(gate, Choice) else (gate,)


def _part(bound: BoundSpace, nodes: Sequence[Node], values: Sequence[object]) -> _Part:
    part = _Part()
    for index, value in enumerate(values):
        gate = None if value is None and len(values) == 1 else Choice(value)
        gated: list[Distribution] = []
        gated_empty = 0
        found = islice(assignments(nodes, bound.anatomy.n_layers, gate), _ASSIGNMENTS + 1)
        for number, assignment in enumerate(found):
            if number == _ASSIGNMENTS:
                raise Unstructured
            filled = box(bound, assignment)
            part.boxes[filled] = part.boxes.get(filled, frozenset()) | {index}
            if assignment.gated:
                gated.append(filled.raw)
                gated_empty += filled.raw_empty
            elif index == 0:
                _merge(part.ungated, filled.raw)
                part.ungated_empty += filled.raw_empty
        part.gated.append(add(*gated))
        part.gated_empty.append(gated_empty)
    return part


def _merge(total: Distribution, more: Distribution) -> None:
    for count, number in more.items():
        total[count] = total.get(count, 0) + number


def _distinct(bound: BoundSpace, sides: list[Union], n_gates: int) -> Bounds:
    """Outcomes of all parts: those common to all gate values once, the others for each value."""
    budget = bound.max_parameters
    everywhere = [_with_empty(side.common, len(side.empty) == n_gates) for side in sides]
    common = number_within(everywhere, budget)
    low, high = common
    for gate in range(n_gates):
        here = [_with_empty(side.by_gate[gate], gate in side.empty) for side in sides]
        number = number_within(here, budget)
        low, high = low + number[0] - common[1], high + number[1] - common[0]
    if bound.space.at_least_one_method and _bare_head(sides, n_gates):
        low, high = low - 1, high - 1
    return max(low, 0), high


def _bare_head(sides: list[Union], n_gates: int) -> bool:
    return any(all(gate in side.empty for side in sides) for gate in range(n_gates))


def _raw(bound: BoundSpace, found: list[_Part], n_gates: int) -> Bounds:
    """Points of all parts that meet the constraints."""
    low, high = _raw_within(found, n_gates, bound.max_parameters)
    if not bound.space.at_least_one_method:
        return low, high
    without = _product([part.ungated_empty for part in found])
    empty = without
    for gate in range(n_gates):
        empty += _product([part.ungated_empty + part.gated_empty[gate] for part in found])
        empty -= without
    return max(low - empty, 0), high - empty


def _raw_within(found: list[_Part], n_gates: int, budget: int | None) -> Bounds:
    """Points within a budget: the gate is drawn only where some part asks for it."""
    without = [add(part.ungated, {0: part.ungated_empty}) for part in found]
    common = number_within(without, budget)
    low, high = common
    for gate in range(n_gates):
        here = [
            add(rest, part.gated[gate], {0: part.gated_empty[gate]})
            for part, rest in zip(found, without, strict=True)
        ]
        number = number_within(here, budget)
        low, high = low + number[0] - common[1], high + number[1] - common[0]
    return low, high


def _parameters(bound: BoundSpace, sides: list[Union], n_gates: int) -> Bounds | None:
    found = []
    for gate in range(n_gates):
        here = [_with_empty(side.by_gate[gate], gate in side.empty) for side in sides]
        if not bound.space.at_least_one_method:
            found.append(extremes(here, bound.max_parameters))
            continue
        for i, side in enumerate(sides):  # at least this part places something
            placing = [*here[:i], side.by_gate[gate], *here[i + 1 :]]
            if all(placing):
                found.append(extremes(placing, bound.max_parameters))
    within = [pair for pair in found if pair is not None]
    if not within:
        return None
    return min(low for low, _ in within), max(high for _, high in within)


def _with_empty(filled: Distribution, empty: bool) -> Distribution:
    return add(filled, {0: 1}) if empty else filled


def _product(numbers: list[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product
