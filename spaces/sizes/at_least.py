"""A lower bound of the points of any space: one that is large is not listed to find that out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from peftnas.spaces.domains import Choice, Integer, Subset
from peftnas.spaces.fields import settings
from peftnas.spaces.structure import ByGroup, PerGroup
from peftnas.spaces.ties import Shared
from peftnas.spaces.tree_nodes import Fork, Groups, Leaf, Node, Presence

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


def at_least(bound: BoundSpace) -> int:
    """A lower bound of the points of a space, constraints aside.

    A product of the fewest answers that each question leaves, whatever the others are answered.
    """
    tied: dict[str, int] = {}
    for node in bound.nodes:
        if isinstance(node, Leaf):
            for held in _asked(node):
                if isinstance(held, Shared):  # asked in every walk, and once
                    tied[held.name] = _values(held.domain)
    return math.prod([*tied.values(), *map(_points, bound.nodes)])


def _points(node: Node | None) -> int:
    """Fewest points of one item, draws that it shares aside."""
    match node:
        case None:
            return 1
        case Presence():
            return 1 + _points(node.leaf)
        case Fork():
            return sum(_points(option) for _, option in node.options)
        case Groups(item=item):
            return math.prod(map(_values, (item.grouping, item.tuned)))
        case Leaf():
            return math.prod(map(_values, _asked(node)))


def _asked(leaf: Leaf) -> list[Any]:
    """What those fields of a method hold that are drawn whatever the others are."""
    declared = settings(type(leaf.method))
    return [
        getattr(leaf.method, name)
        for name, setting in declared.items()
        if not setting.when and name != "gate"
    ]


def _values(held: Any) -> int:
    match held:
        case Integer():
            return len(held)
        case Choice():
            return sum(map(_values, held.options))
        case Subset():
            return len(held)
        case PerGroup(grouping=grouping) | ByGroup(grouping=grouping):
            return _values(grouping)
        case _:  # a value; or by layer, perhaps active in none; or drawn elsewhere
            return 1
