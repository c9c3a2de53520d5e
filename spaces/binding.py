"""A space's items on a backbone: subsets of layers and groups of layers made concrete."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.structure import ByGroup, ByLayer, Maybe, PerGroup
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree_nodes import (
    Fork,
    Groups,
    Leaf,
    Node,
    Presence,
    item_names,
    nodes_in,
    possible_layers,
    within,
)


def build(items: Iterable[Any], stacks: tuple[int, ...]) -> tuple[Node, ...]:
    """The nodes of a space's items.

    Args:
        items: methods, ``Maybe`` and ``Choice`` of methods, as :class:`SearchSpace` checked them.
        stacks: how many layers each stack of the backbone has.
    Raises:
        ValueError: if a method names a layer that the backbone does not have, or more groups than
            it has layers.
    """
    items = tuple(items)
    nodes = tuple(
        _node(item, name, stacks) for item, name in zip(items, item_names(items), strict=True)
    )
    _check_shared_groups(nodes)
    return nodes


def _node(item: Any, path: str, stacks: tuple[int, ...]) -> Node:
    if isinstance(item, Configurable):
        return Leaf(path, _bound(item, stacks))
    if isinstance(item, Grouped):
        if item.n is not None and item.n > max(stacks):
            raise ValueError(
                f"{path} must be at most {max(stacks)} groups ({_layers_of(stacks, 'largest')}), "
                f"got n={item.n}; lower it"
            )
        inner = tuple(
            Leaf(f"{path}.{label}", _bound(method, stacks))
            for label, method in zip(item.labels, item.methods, strict=True)
        )
        return Groups(path, item.tuned_in(_tuned(item, stacks)), inner, stacks)
    if isinstance(item, Maybe) and isinstance(item.content, Configurable):
        return Presence(path, Leaf(path, _bound(item.content, stacks)))
    if isinstance(item, Maybe):
        content = item.content
        options = (None, *(content.options if isinstance(content, Choice) else (content,)))
    else:
        options = item.options
    nodes = [
        (name, None if option is None else _node(option, f"{path}.{name}", stacks))
        for option, name in zip(options, item_names(options), strict=True)
    ]
    return Fork(path, tuple(nodes))


def _bound(method: Configurable, stacks: tuple[int, ...]) -> Configurable:
    """The method with its groups and every ``Subset.of_layers()`` over the backbone's layers."""
    changes: dict[str, Any] = {}
    for name in settings(type(method)):
        value = getattr(method, name)
        inside = list(within(value))
        for inner in inside:
            _check_structure(method, name, inner, stacks)
        if any(isinstance(inner, PerGroup | ByGroup) for inner in inside):
            changes[name] = _bound_groups(value, stacks)
    if "layers" in settings(type(method)):
        changes["layers"] = _bound_own_layers(method, sum(stacks))
    return method.replace(**changes) if changes else method


def _bound_own_layers(method: Configurable, n_layers: int) -> Any:
    layers = _bound_layers(method.layers, n_layers)  # type: ignore[attr-defined]
    beyond = [layer for layer in possible_layers(layers, n_layers) if layer >= n_layers]
    if beyond:
        raise ValueError(
            f"{method.kind}.layers must name layers 0..{n_layers - 1} of this backbone, got "
            f"{beyond[0]}; drop it or use Subset.of_layers()"
        )
    return layers


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


def _bound_groups(held: Any, stacks: tuple[int, ...]) -> Any:
    match held:
        case Choice():
            return Choice(*(_bound_groups(option, stacks) for option in held.options))
        case Switch(on=on, cases=cases):
            return Switch(on, {option: _bound_groups(case, stacks) for option, case in cases})
        case PerGroup() | ByGroup():
            return held.bind(stacks)
    return held


def _tuned(item: Grouped, stacks: tuple[int, ...]) -> Any:
    """The tuned groups, numbered through all stacks."""
    if item.n is None:
        return _bound_layers(item.tuned, sum(stacks))
    match item.tuned:
        case Shared(name, domain):
            return Shared(name, _in_every_stack(domain, item.n, stacks))
        case None:
            return None
    return _in_every_stack(item.tuned, item.n, stacks)


def _in_every_stack(numbers: Any, n: int, stacks: tuple[int, ...]) -> Subset:
    """The groups of each stack that the numbers stand for."""
    found: list[int] = []
    first = 0
    for n_layers in stacks:
        groups = min(n, n_layers)
        found += [first + number for number in numbers.items if number < groups]
        first += groups
    return Subset(*found, min_size=numbers.min_size, max_size=numbers.max_size)


def _check_shared_groups(nodes: Iterable[Node | None]) -> None:
    """Numbers of groups that are shared have to stand for the same groups."""
    domains: dict[str, Any] = {}
    for node in nodes_in(nodes):
        tuned = node.item.tuned if isinstance(node, Groups) else None
        if isinstance(tuned, Shared) and domains.setdefault(tuned.name, tuned.domain) != (
            tuned.domain
        ):
            raise ValueError(
                f"Shared({tuned.name!r}) must name the same groups wherever it stands, got "
                "different n on a backbone of several stacks; give each Grouped the same n"
            )


def _check_structure(method: Configurable, name: str, value: Any, stacks: tuple[int, ...]) -> None:
    if isinstance(value, PerGroup) and value.n > max(stacks):
        raise ValueError(
            f"{method.kind}.{name} must have at most {max(stacks)} groups "
            f"({_layers_of(stacks, 'largest')}), got PerGroup({value.n}, ...); lower n or use "
            "PerLayer"
        )
    if isinstance(value, ByGroup) and len(value.values) > min(stacks):
        raise ValueError(
            f"{method.kind}.{name} must have at most {min(stacks)} groups "
            f"({_layers_of(stacks, 'smallest')}), got {value!r}; leave values out"
        )
    if isinstance(value, ByLayer) and value.layers[-1] >= sum(stacks):
        raise ValueError(
            f"{method.kind}.{name} must name layers 0..{sum(stacks) - 1} of this backbone, got "
            f"{value.layers[-1]}; drop it"
        )


def _layers_of(stacks: tuple[int, ...], which: str) -> str:
    return "the backbone's layers" if len(stacks) == 1 else f"the layers of its {which} stack"
