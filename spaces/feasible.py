"""The smallest point of a space, found by descent: does anything meet the budget?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from peftnas.spaces.dimensions import Dimension
from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.tree import Ask, Choose, Point, Primitive
from peftnas.spaces.tree_nodes import ABSENT, Fork, Leaf, Node, Presence, leaves

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


OVER_BUDGET = "trainable parameters"
"""What the sentence begins with that is said of an architecture over budget."""


def feasible_point(bound: BoundSpace) -> Point:
    """The smallest point, which meets every constraint.

    Raises:
        ValueError: if it does not: the constraint, and what it would take.
    """
    point = smallest_point(bound)
    broken = bound.broken_constraint(point.architecture)
    if broken is None:
        return point
    words = bound.canonical(point.architecture).words()
    if broken.startswith(OVER_BUDGET):
        raise ValueError(
            f"no architecture meets the budget of the space: {broken} at the smallest point "
            f"({words}); raise max_parameters or lower the smallest sizes"
        )
    raise ValueError(
        f"no architecture of the space was found that meets its constraints: {broken} at the "
        f"nearest point ({words}); widen a size or loosen the constraint"
    )


def smallest_point(bound: BoundSpace) -> Point:
    """The point with the fewest trainable parameters that descents find.

    They start from as few methods as possible, and from each method alone with its sets empty or
    full, all with the smallest sizes; one dimension at a time is changed while that helps. Each
    constraint that is broken, the budget aside, counts as worse than any number of parameters.
    """
    best = bound.draw(_small({}))
    for path in (None, *(leaf.path for leaf in leaves(bound.nodes))):
        for full in (False, True):
            if _cost(bound, best) == (0, 0):
                return best
            start = bound.draw(_small(_only(bound.nodes, path), full))
            best = min(best, _descend(bound, start), key=lambda point: _cost(bound, point))
    return best


def _descend(bound: BoundSpace, point: Point) -> Point:
    """Sweeps over all dimensions, taking every change that helps, until none does."""
    cost, improved = _cost(bound, point), True
    while improved:
        improved = False
        for dimension in bound.dimensions():
            for value in _alternatives(dimension, point.values):
                other = bound.draw(_small({**point.values, dimension.path: value}))
                if _cost(bound, other) < cost:
                    point, cost, improved = other, _cost(bound, other), True
    return point


def _cost(bound: BoundSpace, point: Point) -> tuple[int, int]:
    placed = bound.placed(point.architecture)
    empty = bound.space.at_least_one_method and not placed.placements
    broken = [one.broken(placed, bound) for one in bound.space.constraints]
    return (empty + sum(sentence is not None for sentence in broken), placed.count)


def _alternatives(dimension: Dimension, values: dict[str, Primitive]) -> list[Any]:
    """Other values of a dimension, if it is active."""
    if dimension.path not in values:
        return []
    held: Any = values[dimension.path]
    match dimension.domain:
        case Choice(options=options):
            return [option for option in options if option is not held]
        case Integer() as domain:
            near = {domain.low, domain.low + domain.step, held - domain.step, domain.high}
            return sorted(value for value in near if value in domain and value != held)
        case Real():
            return []


def _small(preset: dict[str, Primitive], full: bool = False) -> Choose:
    """The preset value where it is valid, else the smallest: absent, low, the first option.

    With ``full``: all items of a set, sizes above 0, the last option.
    """

    def choose(path: str, domain: Ask) -> Any:
        if path in preset and preset[path] in domain:
            return preset[path]
        if isinstance(domain, Choice):
            if ABSENT in domain:
                return ABSENT
            return domain.options[-1 if full else 0]
        if isinstance(domain, Integer) and full and domain.low == 0 < domain.high:
            return domain.step
        return domain.low

    return choose


def _only(nodes: tuple[Node, ...], path: str | None) -> dict[str, Primitive]:
    """Presets that bring in the method at ``path``, and nothing else that may be absent."""
    preset: dict[str, Primitive] = {}

    def leads(node: Node | None) -> bool:
        match node:
            case Leaf():
                return node.path == path
            case Presence():
                preset[node.path] = leads(node.leaf)
                return bool(preset[node.path])
            case Fork():
                led = [label for label, option in node.options if leads(option)]
                if led:
                    preset[node.path] = led[0]
                return bool(led)
        return False

    for node in nodes:
        leads(node)
    return preset
