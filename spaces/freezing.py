"""Holding some dimensions of a space at a value: what is left is a smaller space."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.nearest import did_you_mean
from peftnas.spaces.structure import ByGroup, Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree_nodes import item_names, within

_DROPPED = object()


def frozen(items: tuple[Any, ...], gate: Any, values: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """Items and gate of a space with some dimensions held.

    Args:
        items: of the space.
        gate: of the space.
        values: see ``SearchSpace.freeze``.
    Raises:
        ValueError: if there is no such name, or its domain does not hold the value.
    """
    left, known = list(items), list(_names(items, gate))
    names = item_names(items)
    for path, value in values.items():
        if path == "gate" and gate is not None:
            _check_held("gate", gate, value)
            gate = value
            continue
        if path not in known:
            raise ValueError(
                f"freeze needs a field or a choice of the space, got {path!r}; "
                f"{did_you_mean(path, known)} (there are {', '.join(known)})"
            )
        ties = [tie for item in items for tie in _ties(item) if tie.name == path]
        if ties:
            _check_held(path, ties[0].domain, value)
            untied = functools.partial(_untied, name=path, value=value)
            left = [_mapped(item, untied) for item in left]
            continue
        index = next(i for i, name in enumerate(names) if f"{path}.".startswith(f"{name}."))
        left[index] = _item(left[index], path, path[len(names[index]) + 1 :], value)
    return [item for item in left if item is not _DROPPED], gate


def _names(items: Iterable[Any], gate: Any) -> Iterator[str]:
    """Everything that can be frozen."""
    items = tuple(items)
    for item, name in zip(items, item_names(items), strict=True):
        yield from _below(item, name)
    yield from dict.fromkeys(tie.name for item in items for tie in _ties(item))
    if gate is not None:
        yield "gate"


def _below(item: Any, path: str) -> Iterator[str]:
    match item:
        case Configurable():
            yield from (f"{path}.{name}" for name in settings(type(item)))
        case Maybe(Choice() as content):
            yield from _below(Choice(None, *content.options), path)
        case Maybe(content):
            yield path
            yield from _below(content, path)
        case Grouped():
            yield from (f"{path}.grouping", f"{path}.tuned")
            for label, method in zip(item.labels, item.methods, strict=True):
                yield from _below(method, f"{path}.{label}")
        case Choice(options=options):
            yield path
            for option, name in zip(options, item_names(options), strict=True):
                yield from _below(option, f"{path}.{name}")


def _item(item: Any, path: str, rest: str, value: Any) -> Any:
    """An item with what ``rest`` names below it held at a value.

    Args:
        item: of the space.
        path: the whole name, for messages.
        rest: what remains of it below the item; "": the item itself.
        value: what to hold.
    """
    match item:
        case Configurable():
            held = getattr(item, rest)
            _check_held(path, held, value)
            return item.replace(**{rest: value})
        case Maybe(Choice() as content):
            return _item(Choice(None, *content.options), path, rest, value)
        case Maybe(content):
            if rest:
                return Maybe(_item(content, path, rest, value))
            if not isinstance(value, bool):
                raise ValueError(f"{path} is present or not, got {value!r}; write True or False")
            return content if value else _DROPPED
        case Grouped():
            return _group(item, path, rest, value)
        case Choice(options=options):
            named = dict(zip(item_names(options), options, strict=True))
            if not rest:
                if value not in named:
                    raise ValueError(
                        f"{path} must be one of {', '.join(named)}, got {value!r}; "
                        f"{did_you_mean(value, named)}"
                    )
                return _DROPPED if named[value] is None else named[value]
            name = next(name for name in named if f"{rest}.".startswith(f"{name}."))
            named[name] = _item(named[name], path, rest[len(name) + 1 :], value)
            return Choice(*named.values())
    raise AssertionError("every name leads somewhere")


def _group(item: Grouped, path: str, rest: str, value: Any) -> Grouped:
    if rest in ("grouping", "tuned"):
        _check_held(path, getattr(item, rest), value)
        # a fixed set is a subset of itself with all its items
        held = Subset(*value, min_size=len(value)) if rest == "tuned" else value
        return item.changed(**{rest: held})
    label, _, field = rest.partition(".")
    methods = [
        _item(method, path, field, value) if name == label else method
        for name, method in zip(item.labels, item.methods, strict=True)
    ]
    return item.changed(methods=methods)


def _check_held(path: str, held: Any, value: Any) -> None:
    """Raise ValueError unless a domain holds the value; one of layers is checked when bound."""
    match held:
        case PerLayer(domain) | PerGroup(_, domain) | Shared(_, domain):
            _check_held(path, domain, value)
            return
        case Switch(cases=cases):
            if any(_holds(case, value) for _, case in cases):
                return
        case _:
            if _holds(held, value):
                return
    raise ValueError(
        f"{path} must be held at a value of {held!r}, got {value!r}; change the value"
    )


def _holds(held: Any, value: Any) -> bool:
    if isinstance(held, Subset) and held.layers:
        return isinstance(value, tuple)
    if isinstance(held, Integer | Real | Choice | Subset):
        return value in held
    return bool(value == held)


def _ties(item: Any) -> Iterator[Shared[Any]]:
    found: list[Shared[Any]] = []

    def look(held: Any) -> Any:
        found.extend(one for one in within(held) if isinstance(one, Shared))
        return held

    _mapped(item, look)
    yield from found


def _mapped(item: Any, change: Callable[[Any], Any]) -> Any:
    """An item with everything that its methods' fields hold changed."""
    match item:
        case Configurable():
            held = {name: getattr(item, name) for name in settings(type(item))}
            return item.replace(**{name: change(value) for name, value in held.items()})
        case Maybe(content):
            return Maybe(_mapped(content, change))
        case Choice(options=options):
            return Choice(*(_mapped(option, change) for option in options))
        case Grouped():
            return item.changed(
                methods=[_mapped(method, change) for method in item.methods],
                grouping=change(item.grouping),
                tuned=change(item.tuned),
            )
    return item


def _untied(held: Any, name: str, value: Any) -> Any:
    """What a field holds once a ``Shared`` draw is held."""
    match held:
        case Shared():
            return value if held.name == name else held
        case Switch(on=on, cases=cases):
            if on.name == name:
                return _untied(held.case(value), name, value)
            return Switch(on, {option: _untied(case, name, value) for option, case in cases})
        case Choice(options=options):
            return Choice(*(_untied(option, name, value) for option in options))
        case PerLayer(domain):
            return PerLayer(_untied(domain, name, value))
        case PerGroup(n, domain, grouping):
            return PerGroup(n, _untied(domain, name, value), _untied(grouping, name, value))
        case ByGroup(values=values, grouping=grouping):
            return ByGroup(*values, grouping=_untied(grouping, name, value))
    return held
