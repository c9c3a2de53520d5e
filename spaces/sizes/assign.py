"""The assignments of one part of a space to which layers stay open.

Layer subsets and per-layer draws multiply: their combinations cannot be listed. Here a walk draws
everything else and leaves them in place, so that what remains of a method can be counted layer by
layer (``strands``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.structure import PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree import Walk
from peftnas.spaces.tree_nodes import (
    Fork,
    Groups,
    Node,
    Presence,
    differs_by_layer,
    draws_layers,
    leaves,
    within,
)


class Unstructured(Exception):
    """The space does not have the structure that counting needs; bounds are given instead."""


@dataclass(frozen=True)
class Grouping:
    """One assignment of a ``Grouped`` item: which methods are drawn in which groups stays open.

    Attributes:
        node: the item.
        cut: how the layers are grouped.
        labels: of the methods that are drawn in at least one tuned group.
        methods: these, active in all layers.
    """

    node: Groups
    cut: str
    labels: tuple[str, ...]
    methods: tuple[Configurable, ...]


@dataclass(frozen=True)
class Assignment:
    """One assignment of the shared fields.

    Attributes:
        parts: the methods present, holding layer subsets and per-layer domains still.
        gated: whether the tied gate was asked.
    """

    parts: tuple[Configurable | Grouping, ...]
    gated: bool

    @property
    def widest(self) -> bool:
        """Whether every method of a ``Grouped`` item may be drawn in it.

        What the others place is placed here too, where a method is drawn in no group.
        """
        groups = [part for part in self.parts if isinstance(part, Grouping)]
        return all(len(part.labels) == len(part.node.leaves) for part in groups)

    @property
    def methods(self) -> tuple[Configurable, ...]:
        """All methods, those of groups included."""
        return tuple(method for part in self.parts for method in methods_of(part))


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
        parts = tuple(part for node in nodes for part in walk.node(node))
        return Assignment(parts, "gate" in walk.values)

    return walks(run)


def methods_of(part: Configurable | Grouping) -> tuple[Configurable, ...]:
    """The methods of one part of an assignment."""
    return part.methods if isinstance(part, Grouping) else (part,)


def can_be_absent(node: Node) -> bool:
    """Whether an item can yield no method at all."""
    if isinstance(node, Fork):
        return any(option is None for _, option in node.options)
    return isinstance(node, Presence)


def is_open(method: Configurable) -> bool:
    """Whether layers, or values in them, are still to be drawn."""
    return draws_layers(getattr(method, "layers", None)) or any(
        draws_by_layer(getattr(method, name)) for name in settings(type(method))
    )


def draws_by_layer(held: Any) -> bool:
    """Whether a field is still to be drawn layer by layer."""
    return any(isinstance(one, PerLayer | PerGroup) for one in within(held))


class _SharedWalk(Walk):
    """Draws everything but layer subsets and per-layer values."""

    def field(
        self, method: Configurable, path: str, name: str, held: Any, drawn: dict[str, Any]
    ) -> Any:
        if name == "layers":
            return self._layers(path, held)
        return self.value(path, held, range(self._n_layers))

    def value(self, path: str, domain: Any, layers: Sequence[int]) -> Any:
        match domain:
            case PerLayer():
                _check_inside(domain.domain)
                return domain
            case PerGroup(_, inner, grouping):
                _check_inside(inner)
                return domain.cut_by(super().value(f"{path}.grouping", grouping, ()))
            case Shared(domain=PerLayer(inner)):
                _check_inside(inner)
                return domain
        return super().value(path, domain, layers)

    def _layers(self, path: str, held: Any) -> Any:
        match held:
            case Choice():
                index = self._choose(path, Choice(*range(len(held.options))))
                return self._layers(f"{path}.{index}", held.options[index])
            case Switch(on=on):
                option = self.shared(on)
                return self._layers(f"{path}.{option}", held.case(option))
            case Shared(name, domain) if not isinstance(domain, Subset):
                if name not in self._shared:
                    self._shared[name] = self._layers(name, domain)
                return self._shared[name]
        return held

    def _groups(self, node: Groups) -> list[Any]:
        path = node.path
        cut = self.value(f"{path}.grouping", node.item.grouping, ())
        if isinstance(node.item.tuned, Shared):
            raise Unstructured
        present = self.value(f"{path}.present", Subset(*node.item.labels, min_size=0), ())
        methods = [self.method(leaf) for label, leaf in node.labelled if label in present]
        return [Grouping(node, cut, present, tuple(methods))]


def _check_conditions(method: Configurable) -> None:
    declared = settings(type(method))
    for setting in declared.values():
        for controlling in setting.when:
            if differs_by_layer(getattr(method, controlling)):
                raise Unstructured


def _check_inside(domain: Any) -> None:
    """A tie inside of a per-layer draw would be drawn for each layer here."""
    if any(isinstance(inner, Shared | Switch) for inner in within(domain)):
        raise Unstructured
