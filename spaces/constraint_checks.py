"""Whether what a constraint names is there, and can be what its fields are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from peftnas.spaces.fields import Configurable, Setting, settings
from peftnas.spaces.nearest import did_you_mean
from peftnas.spaces.refusals import refusal
from peftnas.spaces.space_checks import methods_in
from peftnas.spaces.values import (
    AnyOf,
    Layers,
    OneOf,
    Sizes,
    SomeOf,
    Tokens,
    Values,
    is_finite,
)

FIELD = r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*"
_EQUALITIES = ("==", "!=")

Kinds = Mapping[str, Mapping[str, Setting]]
"""The fields of the methods of a space, by kind and name."""


def is_field(side: Any) -> bool:
    """Whether a side of a relation names a field, METHOD.FIELD."""
    return isinstance(side, str) and re.fullmatch(FIELD, side) is not None


def is_number(value: Any) -> bool:
    """Whether it is a number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_plain(value: Any) -> bool:
    """Whether a constraint can hold a value, and JSON keep it."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return (
        value is None or isinstance(value, str | bool) or (is_number(value) and is_finite(value))
    )


def kinds_in(items: Iterable[Any]) -> Kinds:
    """The fields of the methods in some items."""
    methods: list[Configurable] = [method for item in items for method in methods_in(item)]
    return {method.kind: settings(type(method)) for method in methods}


def check_kinds(where: str, names: Sequence[str], kinds: Kinds) -> None:
    """Raise ValueError unless there are methods of these names."""
    for name in names:
        if name not in kinds:
            raise ValueError(
                f"{where} names methods of the space ({', '.join(sorted(kinds))}), got {name!r}; "
                f"{did_you_mean(name, kinds)}"
            )


def check_field(where: str, path: str, kinds: Kinds) -> None:
    """Raise ValueError unless METHOD.FIELD is one of the architecture's."""
    kind, _, name = path.partition(".")
    if kind not in kinds:
        raise ValueError(
            f"{where} must name methods of the space ({', '.join(sorted(kinds))}), got {kind!r}; "
            f"{did_you_mean(kind, kinds)}"
        )
    if name in kinds[kind] and kinds[kind][name].training:
        raise ValueError(
            f"{where} must name what belongs to the architecture, got {path}, a setting of the "
            "training; narrow the domain of that field instead"
        )
    if name not in kinds[kind]:
        raise ValueError(
            f"{where} must name fields of {kind} ({', '.join(kinds[kind])}), got {name!r}; "
            f"{did_you_mean(name, kinds[kind])}"
        )


def check_compared(where: str, left: str, sign: str, right: Any, kinds: Kinds) -> None:
    """Raise ValueError unless a field can compare so with another one, or with a value.

    Args:
        where: names the constraint, for messages.
        left: a field of the space.
        sign: of the relation.
        right: a field of the space, or a value.
        kinds: see :func:`kinds_in`.
    """
    if isinstance(right, str) and right in kinds:
        sizes = [name for name, declared in kinds[right].items() if declared.size]
        field = next(iter([*sizes, *kinds[right]]), "FIELD")
        raise ValueError(
            f"{where} must compare with a field or a value, got {right!r}, a method; name its "
            f"field too, as in {right}.{field}"
        )
    if sign not in _EQUALITIES:
        for path in filter(is_field, (left, right)):
            if not _orders(_values(path, kinds)):
                raise ValueError(
                    f"{where} must compare numbers by {sign}, got {path!r}, which is "
                    f"{_values(path, kinds).words}; use == or != or forbid"
                )
        if not is_field(right) and not is_number(right):
            raise ValueError(
                f"{where} must compare with a number or a field, got {right!r}; write a number, "
                "or METHOD.FIELD"
            )
    elif not is_field(right) and not _values(left, kinds).takes(right):
        raise ValueError(f"{where}: {refusal(left, _values(left, kinds), right)}")


def check_forbidden(path: str, options: tuple[Any, ...], kinds: Kinds) -> None:
    """Raise ValueError unless a field takes each of the values that it may not hold."""
    values = _values(path, kinds)
    for option in options:
        if values.takes(option):
            continue
        if values.takes(options):
            raise ValueError(
                f"forbid {path} takes a value or a tuple of such values, got {options!r}, which "
                f'is one value; write {{"{path}": ({options!r},)}}'
            )
        raise ValueError(f"forbid: {refusal(path, values, option)}")


def _values(path: str, kinds: Kinds) -> Values:
    kind, _, name = path.partition(".")
    return kinds[kind][name].values


def _orders(values: Values) -> bool:
    """Whether some values of a field are smaller than others."""
    match values:
        case AnyOf(kinds=some):
            return any(map(_orders, some))
        case OneOf(values=named):
            return any(map(is_number, named))
        case SomeOf() | Layers() | Sizes() | Tokens():
            return False
    return True
