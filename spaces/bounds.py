"""Why a space has bounds of its size, not the size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peftnas.spaces.constraints import AtLeast, Constraint
from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import settings
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.sizes.reals import real_fields
from peftnas.spaces.structure import PerLayer
from peftnas.spaces.ties import Shared
from peftnas.spaces.tree_nodes import Groups, differs_by_layer, draws_layers, leaves, within

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

ROUNDED = "numbers of parameters are too many and were rounded"
"""The reason where all architectures are counted exactly, but not those of a budget."""


def why_bounds(bound: BoundSpace) -> str:
    """What keeps a space from being counted exactly, as a clause: the first reason that is found.

    Args:
        bound: a space that is not.
    """
    constraints = bound.space.constraints
    reasons = (
        *(_of_constraint(bound, constraint, 2) for constraint in constraints),
        *_of_fields(bound),
        *(_of_constraint(bound, constraint, 1) for constraint in constraints),
    )
    return next(filter(None, reasons), "its parts depend on each other in too many ways")


def _of_constraint(bound: BoundSpace, constraint: Constraint, by_layer: int) -> str:
    """What a constraint has to do with it; "": nothing.

    Args:
        bound: the space.
        constraint: of it.
        by_layer: how many of its fields have to differ by layer to be a reason.
    """
    match constraint:
        case AtLeast():
            return ""
        case Relation() | Forbid():
            if real_fields(bound).intersection(constraint.paths):
                return f'"{constraint.words()}" compares a Real, which is not counted'
            differing = [path for path in constraint.paths if _differs(bound, path)]
            if len(differing) >= by_layer:
                return f'"{constraint.words()}" compares what differs by layer'
            return ""
    return f'"{constraint.words()}" can only be told of whole architectures'


def _of_fields(bound: BoundSpace) -> Iterator[str]:
    by_layer: dict[str, int] = {}
    for leaf in leaves(bound.nodes):
        for name in settings(type(leaf.method)):
            held = getattr(leaf.method, name)
            for inner in within(held):
                if name == "layers" and isinstance(inner, Subset) and inner.max_size is not None:
                    yield f"{leaf.path}.layers has a largest number of layers"
                if isinstance(inner, Shared) and isinstance(inner.domain, PerLayer):
                    by_layer[inner.name] = by_layer.get(inner.name, 0) + 1
    for name, fields in by_layer.items():
        if fields > 1:
            yield f"{name} is drawn for each layer and shared by {fields} fields"
    for node in bound.nodes:
        if isinstance(node, Groups) and isinstance(node.item.tuned, Shared):
            yield f"{node.path}.tuned is shared"


def _differs(bound: BoundSpace, path: str) -> bool:
    return any(differs_by_layer(one) or draws_layers(one) for one in _held(bound, path))


def _held(bound: BoundSpace, path: str) -> Iterator[Any]:
    """What the field METHOD.FIELD of a constraint holds in each method of the kind."""
    kind, _, name = path.partition(".")
    for leaf in leaves(bound.nodes):
        if leaf.method.kind == kind:
            yield getattr(leaf.method, name)
