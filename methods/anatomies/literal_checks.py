"""What a field of a family's literal may hold; every refusal names field, value and remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peftnas.spaces.nearest import did_you_mean


def check_text(where: str, value: Any, *, empty: bool = False, none: bool = False) -> None:
    """Raise unless ``value`` is text; ``empty`` and ``none`` say what else it may be."""
    if value is None and none:
        return
    if not isinstance(value, str):
        other = " or None" if none else ""
        raise TypeError(f"{where} must be text{other}, got {value!r}; write it in quotes")
    if not value and not empty:
        raise ValueError(f"{where} must not be empty, got {value!r}; name it")


def check_word(where: str, value: Any, known: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of the known words."""
    if value not in known:
        raise ValueError(
            f"{where} must be one of {', '.join(map(repr, known))}, got {value!r}; "
            f"{did_you_mean(value, known)}"
        )


def check_kind(where: str, value: Any, kind: type) -> None:
    """Raise ``TypeError`` unless ``value`` is an object of a class."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{where} must be a {kind.__name__}, got {value!r}; write {kind.__name__}(...)"
        )


def check_tuple(where: str, value: Any, kind: type) -> None:
    """Raise unless ``value`` is a tuple of one or more objects of a class."""
    example = repr(value) if isinstance(value, str) else "it"
    if not isinstance(value, tuple):
        raise TypeError(
            f"{where} must be a tuple of {kind.__name__}, got {_short(value)}; "
            f"write ({example},) for one alone"
        )
    if not value:
        raise ValueError(f"{where} must hold at least one {kind.__name__}, got (); add one")
    for item in value:
        check_kind(f"each of {where}", item, kind)


def check_mapping(where: str, value: Any, known: Sequence[str] | None = None) -> None:
    """Raise unless ``value`` is a mapping whose keys are known names."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a dict by name, got {_short(value)}; name them")
    for name in value:
        if known is not None:
            check_word(f"a name in {where}", name, known)
        else:
            check_text(f"a name in {where}", name)


def check_whole(where: str, value: Any, low: int, high: int | None = None) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number from ``low`` to ``high``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        end = "on" if high is None else f"to {high}"
        raise ValueError(
            f"{where} must be a whole number from {low} {end}, got {value!r}; take one of these"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
