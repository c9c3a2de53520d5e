"""The tree of a space on a backbone: items with their paths, layer subsets made concrete."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.grouped import Grouped, names_of
from peftnas.spaces.groupings import layers_of
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
        n_layers: of the backbone.
    """

    path: str
    item: Grouped
    leaves: tuple[Leaf, ...]
    n_layers: int

    @property
    def n(self) -> int:
        """How many groups there are."""
        return self.n_layers if self.item.n is None else self.item.n

    @property
    def labelled(self) -> tuple[tuple[str, Leaf], ...]:
        """The methods by the names under which they are drawn."""
        return tuple(zip(self.item.labels, self.leaves, strict=True))

    def path_of(self, group: int) -> str:
        """Of the question which methods a group holds."""
        return f"layers[{group}].{self.path}" if self.item.n is None else f"{self.path}[{group}]"

    def layers(self, groups: Iterable[int], grouping: str) -> tuple[int, ...]:
        """The layers of some groups, ascending."""
        return tuple(
            layer
            for group in sorted(groups)
            for layer in layers_of(group, self.n, self.n_layers, grouping)
        )


Node = Leaf | Presence | Fork | Groups


def build(items: Iterable[Any], n_layers: int) -> tuple[Node, ...]:
    """The nodes of a space's items.

    Args:
        items: methods, ``Maybe`` and ``Choice`` of methods, as :class:`SearchSpace` checked them.
        n_layers: layers of the backbone.
    Raises:
        ValueError: if a method names a layer that the backbone does not have.
    """
    return tuple(
        _node(item, name, n_layers) for item, name in zip(items, item_names(items), strict=True)
    )


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


def _node(item: Any, path: str, n_layers: int) -> Node:
    if isinstance(item, Configurable):
        return Leaf(path, _bound(item, n_layers))
    if isinstance(item, Grouped):
        if item.n is not None and item.n > n_layers:
            raise ValueError(
                f"{path} must be at most {n_layers} groups (the backbone's layers), got n={item.n}"
                "; lower it"
            )
        inner = tuple(
            Leaf(f"{path}.{label}", _bound(method, n_layers))
            for label, method in zip(item.labels, item.methods, strict=True)
        )
        return Groups(path, item.tuned_in(_bound_layers(item.tuned, n_layers)), inner, n_layers)
    if isinstance(item, Maybe) and isinstance(item.content, Configurable):
        return Presence(path, Leaf(path, _bound(item.content, n_layers)))
    if isinstance(item, Maybe):
        content = item.content
        options = (None, *(content.options if isinstance(content, Choice) else (content,)))
    else:
        options = item.options
    nodes = [
        (name, None if option is None else _node(option, f"{path}.{name}", n_layers))
        for option, name in zip(options, item_names(options), strict=True)
    ]
    return Fork(path, tuple(nodes))


def _bound(method: Configurable, n_layers: int) -> Configurable:
    """The method with every ``Subset.of_layers()`` over the backbone's layers."""
    for name in settings(type(method)):
        value = getattr(method, name)
        for inner in within(value):
            _check_structure(method, name, inner, n_layers)
    if "layers" not in settings(type(method)):
        return method
    layers = _bound_layers(method.layers, n_layers)  # type: ignore[attr-defined]
    beyond = [layer for layer in possible_layers(layers, n_layers) if layer >= n_layers]
    if beyond:
        raise ValueError(
            f"{method.kind}.layers must name layers 0..{n_layers - 1} of this backbone, got "
            f"{beyond[0]}; drop it or use Subset.of_layers()"
        )
    return method.replace(layers=layers)


def _bound_layers(layers: Any, n_layers: int) -> Any:
    match layers:
        case Choice():
            return Choice(*(_bound_layers(option, n_layers) for option in layers.options))
        case Shared(name, domain):
            return Shared(name, _bound_layers(domain, n_layers))
        case Switch(on=on, cases=cases):
            return Switch(on, {option: _bound_layers(case, n_layers) for option, case in cases})
        case Subset():
            return layers.bind(n_layers)
    return layers


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


def _check_structure(method: Configurable, name: str, value: Any, n_layers: int) -> None:
    if isinstance(value, PerGroup) and value.n > n_layers:
        raise ValueError(
            f"{method.kind}.{name} must have at most {n_layers} groups (the backbone's layers), "
            f"got PerGroup({value.n}, ...); lower n or use PerLayer"
        )
    if isinstance(value, ByGroup) and len(value.values) > n_layers:
        raise ValueError(
            f"{method.kind}.{name} must have at most {n_layers} groups (the backbone's layers), "
            f"got {value!r}; leave values out"
        )
    if isinstance(value, ByLayer) and value.layers[-1] >= n_layers:
        raise ValueError(
            f"{method.kind}.{name} must name layers 0..{n_layers - 1} of this backbone, got "
            f"{value.layers[-1]}; drop it"
        )
