"""Which items of a space have nothing to do with each other, and so can be counted apart."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture, Placement
from peftnas.spaces.choosers import at_random, cover
from peftnas.spaces.constraints import AtLeast
from peftnas.spaces.fields import settings
from peftnas.spaces.relations import Forbid, Relation
from peftnas.spaces.ties import Shared
from peftnas.spaces.tree import draw
from peftnas.spaces.tree_nodes import Groups, Node, leaves, within

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_RANDOM = 24
_PAIRED = 6
_LAYER = re.compile(r"layers\[\d+\]")


@dataclass(frozen=True)
class Part:
    """Items that have nothing to do with the others.

    Attributes:
        nodes: the items.
        apart: whether together they place just what each places alone.
    """

    nodes: tuple[Node, ...]
    apart: bool


def parts(bound: BoundSpace) -> list[Part]:
    """The items of a space, grouped so that the groups have nothing to do with each other.

    Items belong together that can place the same kind of module at the same sites, that together
    place something else than each alone (tried on every option and at random), that share a draw,
    or that are of one kind which a constraint looks at; see also :func:`linked`.
    """
    tries = {node.path: _tries(bound, node) for node in bound.nodes}
    sorts = {path: _sorts(bound, some) for path, some in tries.items()}
    all_apart = len(tries) > _PAIRED and _all_apart(bound, [*tries.values()])
    groups: list[Part] = []
    for node in bound.nodes:
        related, apart = [], True
        for group in groups:
            placed = [
                all_apart or _apart(bound, tries[node.path], tries[other.path])
                for other in group.nodes
            ]
            if not all(placed) or any(
                sorts[node.path] & sorts[other.path] or _tied(bound, node, other)
                for other in group.nodes
            ):
                related.append(group)
                apart = apart and all(placed) and group.apart
        groups = [group for group in groups if group not in related]
        nodes = (*(node for group in related for node in group.nodes), node)
        groups.append(Part(nodes, apart))
    return groups


def linked(
    groups: Sequence[Part], constraints: Sequence[Relation | Forbid]
) -> list[tuple[tuple[Part, ...], list[Relation | Forbid]]]:
    """Parts that constraints look at together, and these constraints."""
    found: list[tuple[tuple[Part, ...], list[Relation | Forbid]]] = [
        ((part,), []) for part in groups
    ]
    for constraint in constraints:
        related = [
            pair for pair in found if any(_kinds(part) & constraint.kinds for part in pair[0])
        ]
        found = [pair for pair in found if pair not in related]
        some = tuple(part for group, _ in related for part in group)
        found.append((some, [*(one for _, known in related for one in known), constraint]))
    return found


def _kinds(part: Part) -> set[str]:
    return {leaf.method.kind for leaf in leaves(part.nodes)}


def tied(nodes: Iterable[Node]) -> bool:
    """Whether some items share a draw."""
    return any(_ties(one) & _ties(other) for one, other in itertools.combinations(nodes, 2))


def _tied(bound: BoundSpace, one: Node, other: Node) -> bool:
    """Whether two items share a draw, or a constraint looks at both together."""
    if _ties(one) & _ties(other):
        return True
    kinds = [{leaf.method.kind for leaf in leaves((node,))} for node in (one, other)]
    for constraint in bound.space.constraints:
        match constraint:
            case Relation() | Forbid():
                # what it sees of one of a kind depends on the others
                if kinds[0] & kinds[1] & constraint.kinds:
                    return True
            case AtLeast(number, "methods"):
                # two of a kind may become one in canonical form
                if number > 1 and kinds[0] & kinds[1]:
                    return True
    return False


def _ties(node: Node) -> set[str]:
    found: set[str] = set()
    held: list[Any] = [
        getattr(leaf.method, name)
        for leaf in leaves((node,))
        for name in settings(type(leaf.method))
    ]
    if isinstance(node, Groups):
        held += [node.item.grouping, node.item.tuned]
    for one in held:
        found |= {inner.name for inner in within(one) if isinstance(inner, Shared)}
    return found


def _tries(bound: BoundSpace, node: Node) -> list[Architecture]:
    """Every option of an item, and random draws."""
    n_layers, gate, rng = bound.anatomy.n_layers, bound.space.gate, random.Random(0)
    random_ones = [
        draw((node,), n_layers, gate, at_random(rng)).architecture for _ in range(_RANDOM)
    ]
    return [*cover((node,), n_layers, gate), *random_ones]


def _sorts(bound: BoundSpace, tries: Iterable[Architecture]) -> set[tuple[type, str]]:
    """What an item places: kind and site, whatever the layer."""
    return {
        (type(part), _LAYER.sub("layers", part.site))
        for one in tries
        for part in bound.placed(one).placements
    }


def _apart(bound: BoundSpace, one: Sequence[Architecture], other: Sequence[Architecture]) -> bool:
    """Whether two items place together what each places alone, as far as tries show."""
    pairs = [*zip(one, other, strict=False), *itertools.product(one[:_PAIRED], other[:_PAIRED])]
    return all(_independent(bound, pair) for pair in dict.fromkeys(pairs))


def _all_apart(bound: BoundSpace, tries: Sequence[Sequence[Architecture]]) -> bool:
    """The same of all items at once, which for many items is quicker than pair by pair."""
    rows = [*zip(*(some[::-1] for some in tries), strict=False)][:_RANDOM]
    rows += [
        tuple(some[i % len(some)] for some, i in zip(tries, row, strict=True))
        for row in _pairwise(len(tries))
    ]
    return all(_independent(bound, row) for row in dict.fromkeys(rows))


def _pairwise(n: int) -> Iterator[tuple[int, ...]]:
    """Rows of n numbers 0, 1, 2 in which any two columns show all nine pairs.

    Columns are lines through the origin of a space over three elements: an orthogonal array.
    """
    digits = 1
    while (3**digits - 1) // 2 < n:
        digits += 1
    lines = [
        line
        for line in itertools.product(range(3), repeat=digits)
        if next(filter(None, line), 0) == 1
    ][:n]
    for point in itertools.product(range(3), repeat=digits):
        yield tuple(sum(map(int.__mul__, point, line)) % 3 for line in lines)


def _independent(bound: BoundSpace, some: Sequence[Architecture]) -> bool:
    alone: Counter[Placement] = Counter()
    for one in some:
        alone.update(bound.placed(one).placements)
    together = Architecture(*(method for one in some for method in one.methods))
    return Counter(bound.placed_once(together).placements) == alone
