"""The assignments of one part of a space to which layers stay open.

Layer subsets and per-layer draws multiply: their combinations cannot be listed. Here a walk draws
everything else and leaves them in place, so that what remains of a method can be counted layer by
layer (``boxes``).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.choosers import cover, uniform
from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.structure import PerGroup, PerLayer
from peftnas.spaces.tree import Walk, draw
from peftnas.spaces.tree_nodes import Node, leaves

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


class Unstructured(Exception):
    """The space does not have the structure that counting needs; bounds are given instead."""


@dataclass(frozen=True)
class Assignment:
    """One assignment of the shared fields.

    Attributes:
        methods: those present, holding layer subsets and per-layer domains still.
        gated: whether the tied gate was asked.
    """

    methods: tuple[Configurable, ...]
    gated: bool


def assignments(nodes: Sequence[Node], n_layers: int, gate: Choice | None) -> Iterator[Assignment]:
    """Every assignment of a part of a space.

    Args:
        nodes: the part.
        n_layers: layers of the backbone.
        gate: the tied gate as a ``Choice`` of one value; ``None`` when gates are not tied.
    Raises:
        Unstructured: if a field depends on one that differs by layer.
    """
    for leaf in leaves(nodes):
        _check_conditions(leaf.method)

    def run(choose: Any) -> Assignment:
        walk = _SharedWalk(choose, n_layers, gate)
        methods = tuple(method for node in nodes for method in walk.node(node))
        return Assignment(methods, "gate" in walk.values)

    return walks(run)


def is_open(method: Configurable) -> bool:
    """Whether layers are still to be drawn."""
    return any(
        isinstance(getattr(method, name), PerLayer | PerGroup | Subset)
        for name in settings(type(method))
    )


def parts(bound: BoundSpace) -> list[tuple[Node, ...]]:
    """The items of a space, grouped so that the groups have nothing to do with each other.

    Items of one kind belong together, and items where together they place something else than
    each alone (tried on every option and at random).
    """
    groups: list[tuple[Node, ...]] = []
    for node in bound.nodes:
        related = [group for group in groups if any(_related(bound, node, o) for o in group)]
        groups = [group for group in groups if group not in related]
        groups.append((*(node for group in related for node in group), node))
    return groups


class _SharedWalk(Walk):
    """Draws everything but layer subsets and per-layer values."""

    def field(
        self, method: Configurable, path: str, name: str, held: Any, drawn: dict[str, Any]
    ) -> Any:
        if name == "layers":
            return self._layers(path, held)
        return self.value(path, held, ())

    def value(self, path: str, domain: Any, layers: Sequence[int]) -> Any:
        if isinstance(domain, PerLayer | PerGroup):
            return domain
        return super().value(path, domain, layers)

    def _layers(self, path: str, held: Any) -> Any:
        if isinstance(held, Choice):
            index = self._choose(path, Choice(*range(len(held.options))))
            return self._layers(f"{path}.{index}", held.options[index])
        return held


def _check_conditions(method: Configurable) -> None:
    declared = settings(type(method))
    for setting in declared.values():
        for controlling in setting.when:
            if _by_layer(getattr(method, controlling)):
                raise Unstructured


def _by_layer(value: Any) -> bool:
    if isinstance(value, Choice):
        return any(map(_by_layer, value.options))
    return isinstance(value, PerLayer | PerGroup)


def _related(bound: BoundSpace, one: Node, other: Node) -> bool:
    n_layers, gate = bound.anatomy.n_layers, bound.space.gate
    kinds = [{leaf.method.kind for leaf in leaves((node,))} for node in (one, other)]
    if kinds[0] & kinds[1]:
        return True
    tries = [_tries(node, n_layers, gate) for node in (one, other)]
    pairs = [*zip(*tries, strict=False), *itertools.product(tries[0][:6], tries[1][:6])]
    return any(not _independent(bound, a, b) for a, b in pairs)


def _tries(node: Node, n_layers: int, gate: Any) -> list[Architecture]:
    rng = random.Random(0)
    random_ones = [draw((node,), n_layers, gate, uniform(rng)).architecture for _ in range(24)]
    return [*cover((node,), n_layers, gate), *random_ones]


def _independent(bound: BoundSpace, one: Architecture, other: Architecture) -> bool:
    apart = [*bound.placed(one).placements, *bound.placed(other).placements]
    together = list(bound.placed(Architecture(*one.methods, *other.methods)).placements)
    for part in apart:
        if part not in together:
            return False
        together.remove(part)
    return not together
