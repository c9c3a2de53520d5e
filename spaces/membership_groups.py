"""From methods of an architecture back to the groups of layers of a ``Grouped`` item."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from peftnas.spaces.domains import Subset
from peftnas.spaces.membership_variants import groupings
from peftnas.spaces.ties import Shared, unshared
from peftnas.spaces.tree import Primitive
from peftnas.spaces.tree_nodes import Groups

Values = dict[str, Primitive]


def strategies(
    node: Groups, layers: Mapping[str, Sequence[int]], idle: Sequence[str] = ()
) -> Iterator[tuple[Values, dict[str, tuple[int, ...]]]]:
    """Answers under which each method acts in the wanted layers, and the layers of its groups.

    Where a method has nothing in some layers of a group, its own draws have to say so.

    Args:
        node: the item.
        layers: the layers of each wanted method, by its label; none of a method that is absent.
        idle: labels of methods that can be drawn without placing anything.
    """
    for answers, cut in groupings(node.path, node.item.grouping):
        wanted: dict[int, set[str]] = {group: set() for group in range(node.n)}
        for group in wanted:
            here = set(node.layers([group], cut))
            wanted[group] = {label for label, active in layers.items() if here & set(active)}
        drawn = {
            label: node.layers([group for group in wanted if label in wanted[group]], cut)
            for label in layers
        }
        for values in _drawn(node, wanted, answers, idle):
            yield values, drawn


def _drawn(
    node: Groups, wanted: Mapping[int, set[str]], answers: Values, idle: Sequence[str]
) -> Iterator[Values]:
    """Answers for the sets of methods, and for the tuned groups."""
    item = node.item
    values = dict(answers)
    full = [group for group, some in wanted.items() if some]
    tuned: Any = unshared(item.tuned)
    if tuned is None:
        tuned_groups: list[int] = list(wanted)
    else:
        may_idle = len(idle) >= item.min_size
        spare = [group for group in tuned.items if group not in full and may_idle]
        missing = max(tuned.min_size - len(full), 0)
        tuned_groups = [*full, *spare[:missing]]
        if not set(full) <= set(tuned.items):
            return
        if not tuned.min_size <= len(tuned_groups) <= tuned.most:
            return
        path = item.tuned.name if isinstance(item.tuned, Shared) else f"{node.path}.tuned"
        values |= _subset(path, tuned, tuned_groups)
    for group, some in wanted.items():
        drawn: Container[str] = item.labels[: item.min_size]
        if group in tuned_groups:
            filled = {*some, *idle[: max(item.min_size - len(some), 0)]}
            if not item.min_size <= len(filled) <= item.choices.most:
                return
            drawn = filled
        values |= _subset(node.path_of(group), item.choices, drawn)
    yield values


def _subset(path: str, domain: Subset, taken: Container[Any]) -> Values:
    return {f"{path}.{one}": one in taken for one in domain.items}
