"""The smallest point of a space, found by descent: does anything meet the budget?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.nodes import ABSENT, Fork, Leaf, Node, Presence, leaves
from peftnas.spaces.tree import Ask, Choose, Point, Primitive

if TYPE_CHECKING:
    from peftnas.spaces.bound import BoundSpace


def smallest_point(bound: BoundSpace) -> Point:
    """The point with the fewest trainable parameters that a descent finds.

    It starts from as few methods as possible, and from each method alone, with the smallest sizes;
    then changes one dimension at a time while that helps. With ``at_least_one_method`` the bare
    head counts as worse than everything else.
    """
    starts = [bound.draw(_small(_only(bound.nodes, path))) for path in [None, *_paths(bound)]]
    best = min(starts, key=lambda point: _cost(bound, point))
    while True:
        better = min(_neighbours(bound, best), key=lambda point: _cost(bound, point), default=best)
        if _cost(bound, better) >= _cost(bound, best):
            return best
        best = better


def _cost(bound: BoundSpace, point: Point) -> tuple[bool, int]:
    placed = bound.placed(point.architecture)
    empty = bound.space.at_least_one_method and not placed.placements
    return (empty, placed.count)


def _neighbours(bound: BoundSpace, point: Point) -> Iterator[Point]:
    for dimension in bound.dimensions():
        if dimension.path in point.values:
            held = point.values[dimension.path]
            for value in _alternatives(dimension.domain, held):
                yield bound.draw(_small({**point.values, dimension.path: value}))


def _alternatives(domain: Ask, held: Any) -> list[Any]:
    match domain:
        case Choice():
            return [option for option in domain.options if option is not held]
        case Integer():
            near = {domain.low, held - domain.step, held + domain.step, domain.high}
            return sorted(value for value in near if value in domain and value != held)
        case Real():
            return []


def _small(preset: dict[str, Primitive]) -> Choose:
    """The preset value where it is valid, else the smallest: absent, low, the first option."""

    def choose(path: str, domain: Ask) -> Any:
        if path in preset and preset[path] in domain:
            return preset[path]
        if isinstance(domain, Choice):
            return ABSENT if ABSENT in domain else domain.options[0]
        return domain.low

    return choose


def _paths(bound: BoundSpace) -> list[str]:
    return [leaf.path for leaf in leaves(bound.nodes)]


def _only(nodes: tuple[Node, ...], path: str | None) -> dict[str, Primitive]:
    """Presets that bring in the method at ``path``, and nothing else that may be absent."""
    preset: dict[str, Primitive] = {}

    def leads(node: Node | None) -> bool:
        match node:
            case Leaf():
                return node.path == path
            case Presence():
                if leads(node.leaf):
                    preset[node.path] = True
                    return True
            case Fork():
                for label, option in node.options:
                    if leads(option):
                        preset[node.path] = label
                        return True
        return False

    for node in nodes:
        leads(node)
    return preset
