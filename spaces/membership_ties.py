"""What the shared draws of a space can have been, where an architecture is looked for.

Fields that share a draw are inverted one by one, each to the first value that fits it; where these
do not agree, the shared values are fixed beforehand.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from peftnas.spaces.domains import Integer, Real, Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.structure import ByLayer, PerLayer
from peftnas.spaces.ties import Shared
from peftnas.spaces.tree import Ask, Choose, Primitive, Walk
from peftnas.spaces.tree_nodes import Groups, Node, leaves, nodes_in, within

Values = dict[str, Primitive]

_FEW = 64
_ASSIGNMENTS = 128


@dataclass(frozen=True)
class Ties:
    """Values of shared draws.

    Attributes:
        drawn: by name, the answers that draw it and its value.
    """

    drawn: Mapping[str, tuple[Values, Any]]

    def __contains__(self, held: object) -> bool:
        """Whether it fixes what a field holds."""
        return isinstance(held, Shared) and held.name in self.drawn

    def answers(self, name: str) -> Values:
        """The answers that draw a name's value."""
        return dict(self.drawn[name][0])

    def over(self, choose: Choose) -> Choose:
        """Answers as these draws do, and all other questions as ``choose`` does."""
        known = {path: one for answers, _ in self.drawn.values() for path, one in answers.items()}

        def tied(path: str, domain: Ask) -> Any:
            return known[path] if path in known else choose(path, domain)

        return tied

    def value(self, name: str) -> Any:
        """The value of a name."""
        return self.drawn[name][1]


NO_TIES = Ties({})


def fixed_ties(nodes: Sequence[Node], wanted: Sequence[Configurable]) -> Iterator[Ties]:
    """What all shared draws of a space can have been, the likelier first; none if there are none.

    Draws of each layer stay open.

    Args:
        nodes: the space.
        wanted: the methods that are looked for; of a large domain only what they hold is tried.
    """
    ties = _ties(nodes)
    if not ties:
        return
    held = {value for method in wanted for value in _values(method)}
    options = [_options(tie, held) for tie in ties.values()]
    for combination in islice(itertools.product(*options), _ASSIGNMENTS):
        yield Ties(dict(zip(ties, combination, strict=True)))


def _ties(nodes: Sequence[Node]) -> dict[str, Shared[Any]]:
    found: dict[str, Shared[Any]] = {}
    held = [
        getattr(leaf.method, name)
        for leaf in leaves(nodes)
        for name in settings(type(leaf.method))
    ]
    for node in nodes_in(nodes):
        if isinstance(node, Groups):
            held += [node.item.grouping, node.item.tuned]
    for one in held:
        for inner in within(one):
            if isinstance(inner, Shared) and not isinstance(inner.domain, PerLayer):
                found.setdefault(inner.name, inner)
    return found


def _values(method: Configurable) -> Iterator[Any]:
    for name in settings(type(method)):
        value = getattr(method, name)
        if isinstance(value, ByLayer):
            yield from (inner for _, inner in value.items())
        else:
            yield value


def _options(tie: Shared[Any], held: Iterable[Any]) -> list[tuple[Values, Any]]:
    """The answers and the values of a shared draw, those that are held first."""
    name, domain = tie.name, tie.domain
    known = set(held)
    if isinstance(domain, Real) or (isinstance(domain, Integer | Subset) and len(domain) > _FEW):
        values = [value for value in known if value.__class__ is not bool and value in domain]
        return [(_answers(name, domain, value), value) for value in sorted(values, key=repr)]

    def draw(choose: Any) -> tuple[Values, Any]:
        walk = Walk(choose, 0, None)
        value = walk.shared(tie)
        return walk.values, value

    found = list(islice(walks(draw), _FEW))
    return sorted(found, key=lambda pair: pair[1] not in known)


def _answers(name: str, domain: Any, value: Any) -> Values:
    if isinstance(domain, Subset):
        return {f"{name}.{item}": item in value for item in domain.items}
    return {name: value}
