"""How often each field of a space is drawn: once, for each layer or group, or with others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import settings
from peftnas.spaces.structure import ByGroup, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree_nodes import Fork, Groups, Node, Presence, leaves, within


@dataclass
class Draws:
    """Names of fields, as in the dimensions of the space, by how they are drawn.

    Attributes:
        once: one draw for all layers.
        layers: in which layers a method acts: one draw, of a subset.
        training: how a method trains: one draw.
        per_layer: a draw for each layer in which the method acts.
        per_group: by number of groups, those of all stacks of layers.
        tied: by the name of a ``Shared`` draw: the fields that take its value.
        switched: by the name of a ``Shared`` choice: the fields whose domain depends on it.
        gated: methods that follow the space's one gate.
        choices: which methods there are, drawn once.
        grouped: which methods there are in each group of layers.
    """

    once: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    training: list[str] = field(default_factory=list)
    per_layer: list[str] = field(default_factory=list)
    per_group: dict[int, list[str]] = field(default_factory=dict)
    tied: dict[str, list[str]] = field(default_factory=dict)
    switched: dict[str, list[str]] = field(default_factory=dict)
    gated: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)
    grouped: dict[str, int] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """(how, which fields) for people, without what is empty."""
        rows = [
            ("which methods", ", ".join(self.choices)),
            *(
                (f"methods of each of {n} groups of layers", path)
                for path, n in self.grouped.items()
            ),
            ("once, for all layers", ", ".join(self.once)),
            ("a subset of the layers", ", ".join(self.layers)),
            ("recipe of a method", ", ".join(self.training)),
            ("for each layer anew", ", ".join(self.per_layer)),
            *(
                (f"for each of {n} groups of layers", ", ".join(some))
                for n, some in sorted(self.per_group.items())
            ),
            *(
                (f"one draw, {name}", f"shared by {_listed(some)}")
                for name, some in self.tied.items()
            ),
            *((f"depends on {name}", ", ".join(some)) for name, some in self.switched.items()),
            ("one gate", f"shared by {_listed(self.gated)}" if self.gated else ""),
        ]
        return [row for row in rows if row[1]]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dict(vars(self))


def how_drawn(bound: BoundSpace) -> Draws:
    """How each field is drawn."""
    draws = Draws()
    for node in _nodes(bound.nodes):
        match node:
            case Presence(path) | Fork(path):
                draws.choices.append(path)
            case Groups(path):
                draws.grouped[path] = node.n
                _sort_in(draws, f"{path}.tuned", node.item.tuned)
                _sort_in(draws, f"{path}.grouping", node.item.grouping)
    for leaf in leaves(bound.nodes):
        for name, declared in settings(type(leaf.method)).items():
            if name == "gate" and bound.space.gate is not None:
                draws.gated.append(leaf.path)
            else:
                held = getattr(leaf.method, name)
                _sort_in(draws, f"{leaf.path}.{name}", held, training=declared.training != "")
    return draws


def _sort_in(draws: Draws, path: str, held: Any, *, training: bool = False) -> None:
    if not isinstance(held, Domain):
        return
    inside = list(within(held))
    tied = [one.name for one in inside if isinstance(one, Shared)]
    groups = [one for one in inside if isinstance(one, PerGroup | ByGroup)]
    if isinstance(held, Switch):
        draws.switched.setdefault(held.on.name, []).append(path)
    elif tied:
        for name in tied:
            draws.tied.setdefault(name, []).append(path)
    elif any(isinstance(one, PerLayer) for one in inside):
        draws.per_layer.append(path)
    elif groups:
        draws.per_group.setdefault(groups[0].groups, []).append(path)
    elif training:
        draws.training.append(path)
    elif path.endswith(".layers"):
        draws.layers.append(path)
    else:
        draws.once.append(path)


def _nodes(nodes: Any) -> Iterator[Node]:
    """All nodes of the tree that are no methods."""
    for node in nodes:
        if isinstance(node, Fork):
            yield node
            yield from _nodes(option for _, option in node.options)
        elif isinstance(node, Presence | Groups):
            yield node


def _listed(names: list[str]) -> str:
    """``a, b and c``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
