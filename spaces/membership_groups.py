"""From methods of an architecture back to the groups of layers of a ``Grouped`` item."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

from peftnas.spaces.domains import Subset
from peftnas.spaces.membership_ties import NO_TIES, Ties
from peftnas.spaces.membership_variants import groupings
from peftnas.spaces.ties import Shared, unshared
from peftnas.spaces.tree import Primitive
from peftnas.spaces.tree_nodes import Groups

Values = dict[str, Primitive]


def strategies(
    node: Groups,
    layers: Mapping[str, Sequence[int]],
    idle: Sequence[str] = (),
    ties: Ties = NO_TIES,
) -> Iterator[tuple[Values, dict[str, tuple[int, ...]]]]:
    """Answers under which each method acts in the wanted layers, and the layers of its groups.

    Where a method has nothing in some layers of a group, its own draws have to say so.

    Args:
        node: the item.
        layers: the layers of each wanted method, by its label; none of a method that is absent.
        idle: labels of methods that can be drawn without placing anything.
        ties: shared draws that are known.
    """
    for answers, cut in groupings(node.path, node.item.grouping, ties):
        wanted: dict[int, set[str]] = {group: set() for group in range(node.n)}
        for group in wanted:
            here = set(node.layers([group], cut))
            wanted[group] = {label for label, active in layers.items() if here & set(active)}
        for spare in itertools.permutations([*idle, *layers]):
            for values, filled in _drawn(node, wanted, answers, spare, ties):
                yield (
                    values,
                    {
                        label: node.layers([g for g in filled if label in filled[g]], cut)
                        for label in layers
                    },
                )
            if all(len(some) >= node.item.min_size for some in wanted.values()):
                break  # none was filled up


def _drawn(
    node: Groups,
    wanted: Mapping[int, set[str]],
    answers: Values,
    spare: Sequence[str],
    ties: Ties,
) -> Iterator[tuple[Values, dict[int, set[str]]]]:
    """Answers for the sets of methods and for the tuned groups, and the sets of these.

    Args:
        node: the item.
        wanted: labels of the methods that act in each group.
        answers: that cut the groups.
        spare: labels of methods to fill groups up with, which then must place nothing there.
        ties: shared draws that are known.
    """
    item = node.item
    values = dict(answers)
    full = [group for group, some in wanted.items() if some]
    tuned: Any = unshared(item.tuned)
    if tuned is None:
        tuned_groups: list[int] = list(wanted)
    elif item.tuned in ties:
        tuned_groups = list(ties.value(item.tuned.name))
        if not set(full) <= set(tuned_groups):
            return
        values |= ties.answers(item.tuned.name)
    else:
        idle_groups = [group for group in tuned.items if group not in full]
        missing = max(tuned.min_size - len(full), 0)
        tuned_groups = [*full, *idle_groups[:missing]]
        if not set(full) <= set(tuned.items):
            return
        if not tuned.min_size <= len(tuned_groups) <= tuned.most:
            return
        path = item.tuned.name if isinstance(item.tuned, Shared) else f"{node.path}.tuned"
        values |= _subset(path, tuned, tuned_groups)
    filled: dict[int, set[str]] = {}
    for group, some in wanted.items():
        drawn: Container[str] = item.labels[: item.min_size]
        if group in tuned_groups:
            more = [label for label in spare if label not in some]
            filled[group] = {*some, *more[: max(item.min_size - len(some), 0)]}
            if not item.min_size <= len(filled[group]) <= item.choices.most:
                return
            drawn = filled[group]
        values |= _subset(node.path_of(group), item.choices, drawn)
    yield values, filled


def _subset(path: str, domain: Subset, taken: Container[Any]) -> Values:
    return {f"{path}.{one}": one in taken for one in domain.items}
