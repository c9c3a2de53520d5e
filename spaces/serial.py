"""JSON form of values, domains and structure, exact both ways.

Plain values stand for themselves and a list for a tuple. An object with ``kind`` is a method or a
recipe with all its fields; every other object has one key that names its type, such as
``{"integer": {"low": 1, "high": 64, "log": true, "step": 1}}`` or ``{"by_layer": {"0": 8}}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.fields import Configurable, kind_named, settings
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.structure import ByGroup, ByLayer, Maybe, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch


def to_json(value: Any) -> Any:
    """The JSON form of a value, a domain, structure, a method or a recipe.

    Raises:
        ValueError: if ``value`` is none of these.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case tuple() | list():
            return [to_json(inner) for inner in value]
        case Configurable():
            return {"kind": value.kind} | _fields_to_json(value)
        case Integer(low, high, log, step):
            return {"integer": {"low": low, "high": high, "log": log, "step": step}}
        case Real(low, high, log):
            return {"real": {"low": low, "high": high, "log": log}}
        case Choice():
            return {"choice": [to_json(option) for option in value.options]}
        case Subset():
            items = None if value.layers else list(value.items)
            most = {} if value.max_size is None else {"max_size": value.max_size}
            return {"subset": {"items": items, "min_size": value.min_size} | most}
        case Maybe(content):
            return {"maybe": to_json(content)}
        case Grouped():
            content = {"methods": to_json(value.methods), "n": value.n}
            content |= {"tuned": to_json(value.tuned), "min_size": value.min_size}
            content |= {"max_size": value.max_size, "draw_all": value.draw_all}
            return {"grouped": content | _grouping_to_json(value.grouping)}
        case PerLayer(domain):
            return {"per_layer": to_json(domain)}
        case PerGroup(n, domain, grouping):
            content = {"n": n, "domain": to_json(domain)}
            return {"per_group": content | _grouping_to_json(grouping)}
        case ByGroup():
            content = {"values": to_json(value.values)}
            return {"by_group": content | _grouping_to_json(value.grouping)}
        case Shared(name, domain):
            return {"shared": {"name": name, "domain": to_json(domain)}}
        case Switch():
            cases = [[to_json(option), to_json(held)] for option, held in value.cases]
            return {"switch": {"on": to_json(value.on), "cases": cases}}
        case ByLayer():
            return {"by_layer": {str(layer): to_json(inner) for layer, inner in value.items()}}
    raise ValueError(
        "only plain values, domains, structure, methods and recipes have a JSON form, got "
        f"{value!r}; hold one of these"
    )


def _fields_to_json(value: Configurable) -> dict[str, Any]:
    """Training settings are left out where a method has none, so that it keeps its old form."""
    return {
        name: to_json(held)
        for name, declared in settings(type(value)).items()
        if (held := getattr(value, name)) is not None or not declared.training
    }


UNIFORM = "uniform"


def _grouping_to_json(grouping: Any) -> dict[str, Any]:
    """Left out where it is the usual one, so that a space keeps the form that it had."""
    return {} if grouping == UNIFORM else {"grouping": to_json(grouping)}


def from_json(data: Any) -> Any:
    """What :func:`to_json` was given; lists come back as tuples.

    Raises:
        ValueError: if an object names no known type, kind or field, or breaks a rule of its type.
    """
    if isinstance(data, list):
        return tuple(from_json(inner) for inner in data)
    if not isinstance(data, dict):
        return data
    if "kind" in data:
        return _configurable(data)
    name, content = next(iter(data.items())) if len(data) == 1 else ("", None)
    if name not in _READERS:
        raise ValueError(
            f"an object must have `kind` or exactly one key of {', '.join(_READERS)}, got keys "
            f"{', '.join(map(repr, data)) or 'none'}; write it with to_dict"
        )
    _check_content(name, content)
    return _READERS[name](content)


def _check_content(name: str, content: Any) -> None:
    """Raise ValueError unless what stands under a type's name has the form of that type."""
    needed, further = _KEYS.get(name, ((), ()))
    match name:
        case "choice":
            fits = isinstance(content, list)
        case "by_layer":
            fits = isinstance(content, dict) and all(map(str.isdecimal, content))
        case "maybe" | "per_layer":
            fits = True
        case _:
            fits = isinstance(content, dict) and {*needed} <= {*content} <= {*needed, *further}
    if fits and name == "switch":
        cases = content["cases"]
        fits = isinstance(cases, list) and all(
            isinstance(case, list) and len(case) == 2 for case in cases
        )
    if fits and name == "subset":
        fits = isinstance(content["items"], list | None)
    if fits and name in ("by_group", "grouped"):
        fits = isinstance(content["values" if name == "by_group" else "methods"], list)
    if not fits:
        form = {"choice": "a list", "by_layer": "an object by layer numbers"}.get(name, "")
        form = form or f"an object with {', '.join(needed)}"
        raise ValueError(f"a stored {name} is {form}, got {content!r}; take what to_dict wrote")


def _configurable(data: dict[str, Any]) -> Configurable:
    if not isinstance(data["kind"], str):
        raise ValueError(f"a kind is a text, got {data['kind']!r}; take what to_dict wrote")
    cls = kind_named(data["kind"])
    known = settings(cls)
    unknown = [name for name in data if name != "kind" and name not in known]
    if unknown:
        raise ValueError(
            f"{cls.__name__} has the fields {', '.join(known)}, got {', '.join(unknown)}; "
            "drop them, or read the file with the version that wrote it"
        )
    return cls(**{name: from_json(value) for name, value in data.items() if name != "kind"})


def _subset(content: Any) -> Subset:
    sizes = {"min_size": content["min_size"], "max_size": content.get("max_size")}
    if content["items"] is None:
        return Subset.of_layers(**sizes)
    return Subset(*content["items"], **sizes)


_KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "integer": (("low", "high"), ("log", "step")),
    "real": (("low", "high"), ("log",)),
    "subset": (("items", "min_size"), ("max_size",)),
    "per_group": (("n", "domain"), ("grouping",)),
    "by_group": (("values",), ("grouping",)),
    "grouped": (
        ("methods", "n", "tuned", "min_size", "max_size", "draw_all"),
        ("grouping",),
    ),
    "shared": (("name", "domain"), ()),
    "switch": (("on", "cases"), ()),
}
"""What an object under a type's name holds: always, and sometimes."""

_READERS: dict[str, Callable[[Any], Any]] = {
    "integer": lambda content: Integer(**content),
    "real": lambda content: Real(**content),
    "choice": lambda content: Choice(*map(from_json, content)),
    "subset": _subset,
    "maybe": lambda content: Maybe(from_json(content)),
    "per_layer": lambda content: PerLayer(from_json(content)),
    "per_group": lambda content: PerGroup(
        content["n"], from_json(content["domain"]), from_json(content.get("grouping", UNIFORM))
    ),
    "by_group": lambda content: ByGroup(
        *from_json(content["values"]), grouping=from_json(content.get("grouping", UNIFORM))
    ),
    "grouped": lambda content: Grouped(
        *from_json(content["methods"]),
        n=content["n"],
        grouping=from_json(content.get("grouping", UNIFORM)),
        tuned=from_json(content["tuned"]),
        min_size=content["min_size"],
        max_size=content["max_size"],
        draw_all=content["draw_all"],
    ),
    "shared": lambda content: Shared(content["name"], from_json(content["domain"])),
    "switch": lambda content: Switch(
        from_json(content["on"]),
        {from_json(option): from_json(held) for option, held in content["cases"]},
    ),
    "by_layer": lambda content: ByLayer(
        {int(layer): from_json(value) for layer, value in content.items()}
    ),
}
