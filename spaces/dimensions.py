"""Every dimension that some walk of a space asks, in the order of the walk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, may_hold, settings
from peftnas.spaces.structure import ByGroup, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch, unshared
from peftnas.spaces.tree import Ask, field_order, inactive_value
from peftnas.spaces.tree_nodes import (
    Fork,
    Groups,
    Leaf,
    Node,
    Presence,
    label_options,
    possible_layers,
)


@dataclass(frozen=True)
class Dimension:
    """One question that the walk can ask: its path and its domain (plain values only).

    Attributes:
        subset: path of the ``Subset`` whose item this is; ``None``: it is none.
    """

    path: str
    domain: Ask
    subset: str | None = None


def dimensions(nodes: Iterable[Node], n_layers: int, gate: Any) -> tuple[Dimension, ...]:
    """Every question that some walk asks, once, in the order of the walk."""
    listing = _Listing(n_layers, gate)
    for node in nodes:
        listing.node(node)
    return tuple(listing.found.values())


def field_dimensions(config: Configurable, path: str) -> tuple[Dimension, ...]:
    """The questions of :func:`draw_fields`."""
    listing = _Listing(0, None)
    listing.node(Leaf(path, config))
    return tuple(listing.found.values())


class _Listing:
    """Visits all branches where the walk takes one."""

    def __init__(self, n_layers: int, gate: Any) -> None:
        self.found: dict[str, Dimension] = {}
        self._n_layers = n_layers
        self._gate = gate

    def node(self, node: Node | None) -> None:
        match node:
            case Presence(path, leaf):
                self._add(path, Choice(False, True))
                self.node(leaf)
            case Fork(path):
                self._add(path, node.labels)
                for _, option in node.options:
                    self.node(option)
            case Groups(path, item, inner):
                self._groupings(path, item.grouping)
                self.value(f"{path}.tuned", item.tuned, ())
                tuned = unshared(item.tuned)
                drawn = range(node.n) if tuned is None or item.draw_all else tuned.items
                for group in drawn:
                    self.value(node.path_of(group), item.choices, ())
                for leaf in inner:
                    self.node(leaf)
            case Leaf(path, method):
                layers = possible_layers(getattr(method, "layers", None), self._n_layers)
                for name in field_order(method):
                    if not self._needed(method, name):
                        continue
                    if name == "gate" and self._gate is not None:
                        self.value("gate", self._gate, ())
                    else:
                        self.value(f"{path}.{name}", getattr(method, name), layers)

    def value(self, path: str, domain: Any, layers: Sequence[int]) -> None:
        match domain:
            case Integer() | Real():
                self._add(path, domain)
            case Choice():
                labels = label_options(domain)
                self._add(path, Choice(*(label for _, label in labels)))
                for (_, label), option in labels.items():
                    self.value(f"{path}.{label}", option, layers)
            case Subset():
                free = domain.items if domain.min_size < len(domain.items) else ()
                for item in free:
                    self._add(f"{path}.{item}", Choice(False, True), path)
            case PerLayer(inner):
                for layer in layers:
                    self.value(f"layers[{layer}].{path}", inner, layers)
            case PerGroup(_, inner, grouping):
                cuts = self._groupings(path, grouping)
                groups = {domain.numbers(cut)[layer] for layer in layers for cut in cuts}
                for group in sorted(groups):
                    self.value(f"groups[{group}].{path}", inner, layers)
            case ByGroup():
                self._groupings(path, domain.grouping)
            case Shared(name, inner):
                self.value(name, inner, layers if isinstance(inner, PerLayer) else ())
            case Switch(on=on, cases=cases):
                self.value(on.name, on.domain, ())
                for option, held in cases:
                    self.value(f"{path}.{option}", held, layers)

    def _groupings(self, path: str, grouping: Any) -> tuple[str, ...]:
        """The groupings that a field can come to have."""
        self.value(f"{path}.grouping", grouping, ())
        domain = unshared(grouping)
        return domain.options if isinstance(domain, Choice) else (domain,)

    def _needed(self, method: Configurable, name: str) -> bool:
        """Whether some walk reaches a field: its conditions can be met."""
        return all(
            may_hold(self._possible(method, controlling), allowed)
            for controlling, allowed in settings(type(method))[name].when.items()
        )

    def _possible(self, method: Configurable, name: str) -> Any:
        """What a field that others depend on can come to hold."""
        if not self._needed(method, name):
            return inactive_value(method, name)
        tied = name == "gate" and self._gate is not None
        return self._gate if tied else getattr(method, name)

    def _add(self, path: str, domain: Ask, subset: str | None = None) -> None:
        self.found.setdefault(path, Dimension(path, domain, subset))
