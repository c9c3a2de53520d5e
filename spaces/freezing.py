"""Holding some dimensions of a space at a value: what is left is a smaller space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from peftnas.spaces.constraints import Constraint
from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.nearest import did_you_mean
from peftnas.spaces.space_checks import gated_methods, methods_in, ties
from peftnas.spaces.structure import Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.tree_nodes import item_names
from peftnas.spaces.untying import untied, with_tuned
from peftnas.spaces.values import same_value


def frozen(
    items: Sequence[Any], gate: Any, constraints: Iterable[Constraint], values: Mapping[str, Any]
) -> tuple[list[Any], Any, list[Constraint]]:
    """Items, gate and constraints of a space with some dimensions held.

    What names a method that is left out goes with it: nothing could break such a constraint.

    Args:
        items: of the space.
        gate: of the space.
        constraints: of the space.
        values: see ``SearchSpace.freeze``.
    Raises:
        ValueError: if there is no such name, its domain does not hold the value, or no method
            is left.
    """
    wanted = _wanted(values, list(_names(items, gate)))
    names = item_names(items)
    left = list(items)
    for tie in {tie.name: tie for tie in ties(items) if tie.name in wanted}.values():
        value = wanted[tie.name]
        _check_held(tie.name, tie.domain, value)
        left = [untied(item, tie.name, value) for item in left]
    if gate is not None and "gate" in wanted:
        gate = _check_held("gate", gate, wanted["gate"])
    left = [_held(item, name, wanted) for item, name in zip(left, names, strict=True)]
    left = [item for item in left if item is not None]
    if not left:
        raise ValueError(
            f"freeze must leave a method in the space, got {dict(values)!r}, which leaves none; "
            "keep one of them"
        )
    kinds = {method.kind for item in left for method in methods_in(item)}
    kept = [constraint for constraint in constraints if constraint.kinds <= kinds]
    return left, gate if any(gated_methods(left)) else None, kept


def _wanted(values: Mapping[str, Any], known: list[str]) -> dict[str, Any]:
    """The values by name, lists as tuples; ValueError where a name is not known."""
    if not isinstance(values, Mapping):
        raise ValueError(
            'freeze takes names with their values such as {"lora.rank": 8}, got '
            f"{values!r}; write such a dict"
        )
    for path in values:
        if path not in known:
            raise ValueError(
                f"freeze needs a field or a choice of the space, got {path!r}; "
                f"{did_you_mean(path, known)} (there are {', '.join(known)})"
            )
    return {
        path: tuple(value) if isinstance(value, list) else value for path, value in values.items()
    }


def _names(items: Sequence[Any], gate: Any) -> Iterator[str]:
    """Everything that can be frozen, by the names of its dimensions."""
    for item, name in zip(items, item_names(items), strict=True):
        yield from _below(item, name)
    yield from dict.fromkeys(tie.name for tie in ties(items))
    if gate is not None:
        yield "gate"


def _below(item: Any, path: str) -> Iterator[str]:
    match item:
        case None:
            return
        case Configurable():
            yield from (f"{path}.{name}" for name in settings(type(item)))
        case Maybe(Configurable() as method):
            yield path
            yield from _below(method, path)
        case Grouped():
            yield from (f"{path}.grouping", f"{path}.tuned")
            for label, method in zip(item.labels, item.methods, strict=True):
                yield from _below(method, f"{path}.{label}")
        case _:
            yield path
            for name, option in _options(item).items():
                yield from _below(option, f"{path}.{name}")


def _options(item: Any) -> dict[str, Any]:
    """The options of a choice of methods by their labels; ``None``: no method."""
    match item:
        case Maybe(Choice(options=options)):
            options = (None, *options)
        case Maybe(content):
            options = (None, content)
        case _:
            options = item.options
    return dict(zip(item_names(options), options, strict=True))


def _held(item: Any, path: str, values: Mapping[str, Any]) -> Any:
    """An item with what is named at or below its path held; ``None``: no method is left of it."""
    if item is None or not (path in values or any(_under(path, values))):
        return item
    match item:
        case Configurable():
            changes = {
                name: _check_held(f"{path}.{name}", getattr(item, name), values[f"{path}.{name}"])
                for name in settings(type(item))
                if f"{path}.{name}" in values
            }
            return item.replace(**changes)
        case Maybe(Configurable() as method):
            if path not in values:
                return Maybe(_held(method, path, values))
            if not isinstance(values[path], bool):
                raise ValueError(
                    f"{path} is present or not, got {values[path]!r}; write True or False"
                )
            if values[path]:
                return _held(method, path, values)
            _check_left(path, values, None)
            return None
        case Grouped():
            return _group(item, path, values)
    return _fork(item, path, values)


def _fork(item: Any, path: str, values: Mapping[str, Any]) -> Any:
    """A choice of methods, or of a ``Grouped`` and none, decided or with less to decide."""
    options = _options(item)
    if path in values:
        value = values[path]
        if not isinstance(value, str) or value not in options:
            raise ValueError(
                f"{path} must be one of {', '.join(options)}, got {value!r}; "
                f"{did_you_mean(value, options)}"
            )
        _check_left(path, values, value)
        return _held(options[value], f"{path}.{value}", values)
    left = [_held(option, f"{path}.{name}", values) for name, option in options.items()]
    if set(left) == {None}:
        return None
    if isinstance(left[-1], Grouped):
        return Maybe(left[-1])
    if None in left:  # absent is an option: no other need say so again
        left = [option.content if isinstance(option, Maybe) else option for option in left]
    return Choice(*dict.fromkeys(left))


def _under(path: str, values: Mapping[str, Any]) -> Iterator[str]:
    return (name for name in values if name.startswith(f"{path}."))


def _check_left(path: str, values: Mapping[str, Any], option: str | None) -> None:
    """Raise ValueError where something is held of what ``values[path]`` leaves out.

    Args:
        path: of a presence or a choice.
        values: to hold.
        option: label of what is left; ``None``: nothing.
    """
    for name in _under(path, values):
        if option is None or not f"{name}.".startswith(f"{path}.{option}."):
            raise ValueError(
                f"freeze must name what is left of the space, got {name!r} beside "
                f"{path}={values[path]!r}, which leaves it out; drop one of them"
            )


def _group(item: Grouped, path: str, values: Mapping[str, Any]) -> Grouped | None:
    methods = [
        _held(method, f"{path}.{label}", values)
        for label, method in zip(item.labels, item.methods, strict=True)
    ]
    item = item.changed(methods=methods)
    if f"{path}.grouping" in values:
        here = f"{path}.grouping"
        item = item.changed(grouping=_check_held(here, item.grouping, values[here]))
    if f"{path}.tuned" in values:
        here = f"{path}.tuned"
        return with_tuned(item, _check_held(here, item.tuned, values[here]))
    return item


def _check_held(path: str, held: Any, value: Any) -> Any:
    """The value; ValueError unless what is there can come to hold it by a draw of its own."""
    if _holds(held, value):
        return value
    tie = _tie(held, value)
    if tie is not None:
        raise ValueError(
            f"{path} follows the shared draw {tie!r}, got {value!r} for {path} alone; freeze "
            f"{tie!r} {'too' if isinstance(held, Switch) else 'instead'}"
        )
    raise ValueError(
        f"{path} must be held at a value of {held!r}, got {value!r}; change the value"
    )


def _holds(held: Any, value: Any) -> bool:
    """Whether a value, in all layers, can be drawn here and nowhere else with it.

    Subsets of the layers are checked for their size: which layers there are is known when bound.
    """
    match held:
        case PerLayer(domain) | PerGroup(_, domain):
            return _holds(domain, value)
        case Choice(options=options):
            return any(_holds(option, value) for option in options)
        case Subset(layers=True):
            return (
                isinstance(value, tuple)
                and list(value) == sorted({one for one in value if type(one) is int})
                and held.min_size <= len(value)
                and (held.max_size is None or len(value) <= held.max_size)
            )
        case Integer() | Real() | Subset():
            return value in held
    return same_value(held, value)


def _tie(held: Any, value: Any) -> str | None:
    """The name of a shared draw by which a value can be drawn here."""
    match held:
        case Shared(name, domain):
            return name if _holds(domain, value) else None
        case Switch(on=on, cases=cases):
            some = any(_holds(case, value) or _tie(case, value) for _, case in cases)
            return on.name if some else None
        case Choice(options=options):
            return next((tie for one in options if (tie := _tie(one, value))), None)
        case PerLayer(domain) | PerGroup(_, domain):
            return _tie(domain, value)
    return None
