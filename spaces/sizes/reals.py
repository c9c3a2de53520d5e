"""What a ``Real`` counts as: one value, at its low end."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from peftnas.spaces.choosers import at_random
from peftnas.spaces.domains import Real
from peftnas.spaces.fields import settings
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.tree import Ask, Choose, Point
from peftnas.spaces.tree_nodes import leaves, within

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_TRIES = 16


def real_fields(bound: BoundSpace) -> set[str]:
    """The fields that can hold a value of a ``Real``, as METHOD.FIELD."""
    return {
        f"{leaf.method.kind}.{name}"
        for leaf in leaves(bound.nodes)
        for name in settings(type(leaf.method))
        if any(isinstance(one, Real) for one in within(getattr(leaf.method, name)))
    }


def reals_matter(bound: BoundSpace) -> bool:
    """Whether the one value that a ``Real`` stands for does not speak for all of them.

    A constraint looks at it, or trainable parameters depend on it (tried at random).
    """
    found = real_fields(bound)
    if not found:
        return False
    if any(
        found.intersection(one.paths)
        for one in bound.space.constraints
        if isinstance(one, Relation | Forbid)
    ):
        return True
    points = [bound.draw(at_random(random.Random(seed))) for seed in range(_TRIES)]
    return any(
        bound.count(point.architecture) != bound.count(pinned(bound, point).architecture)
        for point in points
    )


def pinned(bound: BoundSpace, point: Point) -> Point:
    """The point with every ``Real`` at its low end."""
    return bound.draw(_pinning(point))


def _pinning(point: Point) -> Choose:
    def choose(path: str, domain: Ask) -> Any:
        return domain.low if isinstance(domain, Real) else point.values[path]

    return choose
