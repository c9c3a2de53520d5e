"""An upper bound of the points of any space, without looking at what they place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice, Integer, Subset
from peftnas.spaces.fields import settings
from peftnas.spaces.structure import ByGroup, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree_nodes import Fork, Groups, Leaf, Node, Presence

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


def at_most(bound: BoundSpace) -> int:
    """An upper bound of the points of a space."""
    gate = bound.space.gate
    gates = len(gate.options) if isinstance(gate, Choice) else 1
    return gates * math.prod(_at_most(node, bound.anatomy.n_layers) for node in bound.nodes)


def _at_most(node: Node | None, n_layers: int) -> int:
    """An upper bound of the points of one item."""
    match node:
        case None:
            return 1
        case Presence():
            return 1 + _at_most(node.leaf, n_layers)
        case Fork():
            return sum(_at_most(option, n_layers) for _, option in node.options)
        case Groups(item=item, leaves=inner):
            sets: int = len(item.choices) ** node.n
            drawn = [_values_at_most(held, n_layers) for held in (item.grouping, item.tuned)]
            inside: int = math.prod([*drawn, *(_at_most(leaf, n_layers) for leaf in inner)])
            return sets * inside
        case Leaf():
            fields = [getattr(node.method, name) for name in settings(type(node.method))]
            return math.prod(_values_at_most(held, n_layers) for held in fields)


def _values_at_most(held: Any, n_layers: int) -> int:
    match held:
        case Integer():
            return len(held)
        case Choice():
            return sum(_values_at_most(option, n_layers) for option in held.options)
        case Subset():
            return len(held)
        case PerLayer(inner):
            return math.prod([_values_at_most(inner, n_layers)] * n_layers)
        case PerGroup(_, inner, grouping):
            number: int = _values_at_most(inner, n_layers) ** held.groups
            return number * _values_at_most(grouping, n_layers)
        case ByGroup(grouping=grouping):
            return _values_at_most(grouping, n_layers)
        case Shared(_, inner):
            return _values_at_most(inner, n_layers)
        case Switch(on=on, cases=cases):
            inside = max(_values_at_most(case, n_layers) for _, case in cases)
            return _values_at_most(on, n_layers) * inside
        case _:
            return 1
