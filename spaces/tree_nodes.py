"""The tree of a space on a backbone: its items with their paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.fields import Configurable
from peftnas.spaces.grouped import Grouped, names_of
from peftnas.spaces.groupings import cut, number_of_groups
from peftnas.spaces.structure import ByGroup, ByLayer, Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch

ABSENT = "none"
"""Label of the option ``None`` in a choice of whole methods."""


@dataclass(frozen=True)
class Leaf:
    """One method of the space; its fields' paths start with ``path``."""

    path: str
    method: Configurable


@dataclass(frozen=True)
class Presence:
    """A method that is present or absent, asked at the method's own path."""

    path: str
    leaf: Leaf


@dataclass(frozen=True)
class Fork:
    """One of several items by label; ``None`` stands for no method at all."""

    path: str
    options: tuple[tuple[str, Node | None], ...]

    @property
    def labels(self) -> Choice:
        return Choice(*(label for label, _ in self.options))

    def option(self, label: str) -> Node | None:
        return dict(self.options)[label]


@dataclass(frozen=True)
class Groups:
    """Methods by groups of layers.

    Attributes:
        path: of its questions.
        item: as it was written, subsets of layers made concrete.
        leaves: its methods.
        stacks: how many layers each stack of the backbone has.
    """

    path: str
    item: Grouped
    leaves: tuple[Leaf, ...]
    stacks: tuple[int, ...]

    @property
    def n(self) -> int:
        """How many groups there are, in all stacks."""
        n = self.item.n
        return sum(self.stacks) if n is None else number_of_groups(n, self.stacks)

    @property
    def labelled(self) -> tuple[tuple[str, Leaf], ...]:
        """The methods by the names under which they are drawn."""
        return tuple(zip(self.item.labels, self.leaves, strict=True))

    def path_of(self, group: int) -> str:
        """Of the question which methods a group holds."""
        return f"layers[{group}].{self.path}" if self.item.n is None else f"{self.path}[{group}]"

    def layers(self, groups: Iterable[int], grouping: str) -> tuple[int, ...]:
        """The layers of some groups, ascending."""
        if self.item.n is None:
            return tuple(sorted(groups))
        found = cut(self.item.n, self.stacks, grouping)
        return tuple(layer for group in sorted(groups) for layer in found[group])


Node = Leaf | Presence | Fork | Groups


def leaves(nodes: Iterable[Node | None]) -> Iterator[Leaf]:
    """Every method of the tree, in the order of the walk."""
    for node in nodes:
        if isinstance(node, Leaf):
            yield node
        elif isinstance(node, Presence):
            yield node.leaf
        elif isinstance(node, Groups):
            yield from node.leaves
        elif isinstance(node, Fork):
            yield from leaves(inner for _, inner in node.options)


def nodes_in(nodes: Iterable[Node | None]) -> Iterator[Node]:
    """Every node of the tree, those inside of choices included."""
    for node in nodes:
        if node is not None:
            yield node
        if isinstance(node, Fork):
            yield from nodes_in(inner for _, inner in node.options)


def possible_layers(layers: Any, n_layers: int) -> tuple[int, ...]:
    """The layers in which a method with this ``layers`` field can be active, ascending."""
    match layers:
        case None:
            return tuple(range(n_layers))
        case Choice():
            found = {i for option in layers.options for i in possible_layers(option, n_layers)}
            return tuple(sorted(found))
        case Switch(cases=cases):
            found = {i for _, case in cases for i in possible_layers(case, n_layers)}
            return tuple(sorted(found))
        case Shared(_, inner):
            return possible_layers(inner, n_layers)
        case Subset():
            return tuple(sorted(layers.items))
        case _:
            return tuple(sorted(layers))


def label_options(choice: Choice) -> dict[Any, Any]:
    """What the walk hands out for each option of a field's ``Choice`` -> the option.

    Plain values stand for themselves. A domain or a tuple gets a readable, unique label, which is
    also the name of a nested domain in the paths below it.
    """
    taken = {option for option in choice.options if isinstance(option, str)}
    labels: dict[Any, Any] = {}
    for option in choice.options:
        label = option if is_primitive(option) else _unique(_label(option), taken)
        if isinstance(label, str):
            taken.add(label)
        labels[(type(label), label)] = option
    return labels


def is_primitive(value: Any) -> bool:
    """Whether the walk can hand out ``value`` itself."""
    return value is None or isinstance(value, bool | int | float | str)


def _label(option: Any) -> str:
    match option:
        case tuple():
            return "+".join(map(str, option)) or "nothing"
        case PerLayer():
            return "per_layer"
        case PerGroup():
            return "per_group"
        case ByLayer():
            return "by_layer"
        case ByGroup():
            return "by_group"
        case _:
            return type(option).__name__.lower()


def _unique(label: str, taken: set[str]) -> str:
    if label not in taken:
        return label
    return next(f"{label}{i}" for i in range(2, len(taken) + 3) if f"{label}{i}" not in taken)


def item_names(items: Iterable[Any]) -> list[str]:
    """One name an item, numbered from the second of a kind on: adapter, adapter2, method."""
    kinds = []
    for item in items:
        content = item.content if isinstance(item, Maybe) else item
        kind = content.kind if isinstance(content, Configurable | Grouped) else "method"
        kinds.append(ABSENT if content is None else kind)
    return names_of(kinds)


def within(held: Any) -> Iterator[Any]:
    """What a field holds, and everything inside it that it can come to hold."""
    yield held
    match held:
        case Choice():
            inner = held.options
        case Switch(on=on, cases=cases):
            inner = (on, *(case for _, case in cases))
        case PerGroup(_, domain, grouping):
            inner = (domain, grouping)
        case ByGroup(grouping=grouping):
            inner = (grouping,)
        case Shared(_, domain) | PerLayer(domain):
            inner = (domain,)
        case _:
            return
    for one in inner:
        yield from within(one)


def differs_by_layer(held: Any) -> bool:
    """Whether what a field holds is, or can come to hold, other values in other layers."""
    return any(isinstance(one, PerLayer | PerGroup | ByGroup | ByLayer) for one in within(held))


def draws_layers(held: Any) -> bool:
    """Whether a field ``layers`` holds, or can come to hold, a set still to be drawn."""
    return any(isinstance(one, Subset) for one in within(held))
