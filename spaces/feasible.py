"""The smallest point that descent finds in a space: does anything meet the budget?"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from peftnas.spaces.dimensions import Dimension
from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.fields import settings
from peftnas.spaces.relations import Relation
from peftnas.spaces.ties import Shared
from peftnas.spaces.tree import Ask, Choose, Point, Primitive
from peftnas.spaces.tree_nodes import ABSENT, Fork, Leaf, Node, Presence, leaves, within

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


_IN = re.compile(r"^(layers|groups)\[\d+\]\.")

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
            f"no architecture of the space was found that meets its budget: {broken} at the "
            f"smallest point ({words}); raise max_parameters or lower the smallest sizes"
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
    """Sweeps over all dimensions, taking every change that helps, until none does.

    Fields that relations compare are changed to one value together, too: where they must be equal,
    changing one breaks what it mends.
    """
    cost, improved = _cost(bound, point), True
    compared = _compared(bound)
    while improved:
        improved = False
        for dimension in bound.dimensions():
            for value in _alternatives(dimension, point.values):
                for together in ((dimension,), *(some for some in compared if dimension in some)):
                    changes = {one.path: value for one in together if value in one.domain}
                    other = bound.draw(_small({**point.values, **changes}))
                    if _cost(bound, other) < cost:
                        point, cost, improved = other, _cost(bound, other), True
    return point


def _compared(bound: BoundSpace) -> list[list[Dimension]]:
    """The dimensions of fields that relations compare with each other, directly or in a chain."""
    fields: list[set[str]] = []
    for one in bound.space.constraints:
        if isinstance(one, Relation) and len(one.paths) > 1:
            linked = [some for some in fields if some.intersection(one.paths)]
            fields = [some for some in fields if some not in linked]
            fields.append(set(one.paths).union(*linked))
    return [_of_fields(bound, some) for some in fields]


def _of_fields(bound: BoundSpace, fields: set[str]) -> list[Dimension]:
    """The dimensions of some fields, given as METHOD.FIELD."""
    paths: set[str] = set()
    for leaf in leaves(bound.nodes):
        for name in settings(type(leaf.method)):
            if f"{leaf.method.kind}.{name}" in fields:
                held = within(getattr(leaf.method, name))
                paths |= {f"{leaf.path}.{name}"}
                paths |= {one.name for one in held if isinstance(one, Shared)}
    return [
        one
        for one in bound.dimensions()
        if any(f"{_IN.sub('', one.path)}.".startswith(f"{path}.") for path in paths)
    ]


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
            half = domain.low + (held - domain.low) // (2 * domain.step) * domain.step
            near = {domain.low, domain.low + domain.step, half, held - domain.step, domain.high}
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
