"""An assignment with its layers closed: what constraints on fields are asked of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import Configurable, possible_values, settings
from peftnas.spaces.sizes.assign import (
    Assignment,
    Grouping,
    Unstructured,
    is_open,
    methods_of,
)
from peftnas.spaces.structure import PerGroup, PerLayer
from peftnas.spaces.ties import unshared
from peftnas.spaces.tree_nodes import differs_by_layer


def drawn_by_layer(assignment: Assignment, paths: Iterable[str]) -> dict[str, Any]:
    """Those of some fields, METHOD.FIELD, that are drawn by layer, and what they hold.

    Raises:
        Unstructured: if one is left to other draws for layers.
    """
    found: dict[str, Any] = {}
    for path in paths:
        kind, _, name = path.partition(".")
        held = [
            (getattr(method, name), isinstance(part, Grouping) or is_open(method))
            for part in assignment.parts
            for method in methods_of(part)
            if method.kind == kind
        ]
        for one, draws in held:
            if isinstance(one, PerLayer | PerGroup) and len(held) == 1:
                found[path] = one
            elif (name == "layers" and draws) or differs_by_layer(one):
                raise Unstructured
    return found


def closings(assignment: Assignment, n_layers: int) -> list[Architecture]:
    """An assignment with what is left to draw at the largest, in all layers; and at its ends.

    What a constraint says of all of them it says of every draw that places something.
    """
    closed = []
    for fewest in (None, slice(0, 1), slice(-1, None)):
        methods = []
        for part in assignment.parts:
            drawn = Subset(*range(n_layers)) if isinstance(part, Grouping) else None
            methods += [_closed(method, fewest, drawn) for method in methods_of(part)]
        closed.append(Architecture(*methods))
    return list(dict.fromkeys(closed))


def _closed(method: Configurable, fewest: slice | None, drawn: Subset | None) -> Configurable:
    """One draw of a method, which places something if any does.

    Args:
        method: with layers, and values in them, still to be drawn.
        fewest: of its layers, at the smallest values; ``None``: all, at the largest.
        drawn: what its layers are drawn from, where it does not say so itself.
    """
    changes: dict[str, Any] = {}
    for name, declared in settings(type(method)).items():
        held = unshared(getattr(method, name))
        domain = drawn if name == "layers" and drawn is not None else held
        if isinstance(domain, Subset):
            changes[name] = domain.items if fewest is None else domain.items[fewest]
        elif isinstance(domain, PerLayer | PerGroup):
            values = list(possible_values(domain))
            placing = [one for one in values if one != () and (one or not declared.size)]
            changes[name] = (placing or values)[-1 if fewest is None else 0]
    return method.replace(**changes)
