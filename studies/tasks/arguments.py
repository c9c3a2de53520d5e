"""Checks of what is passed to a task, made where it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from peftnas.spaces.nearest import did_you_mean
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.templates import columns_in


def check_whole(name: str, value: Any) -> int:
    """A number of tokens, at least 1.

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"{name} must be a whole number >= 1, got {value!r}; take such as 30")
    return value


def check_share(name: str, value: Any) -> float:
    """A part of train, in (0, 1).

    Raises:
        DataError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise DataError(
            f"{name} must be a share of train in (0, 1), got {value!r}; take such as 0.1"
        )
    return float(value)


def check_texts(name: str, value: Any, of: str, example: str) -> dict[str, str]:
    """A dict from text to text.

    Args:
        name: of the argument.
        value: what was passed for it.
        of: what stands for what, for the message.
        example: of such a dict.
    Raises:
        DataError: if it is none.
    """
    good = isinstance(value, Mapping) and all(
        isinstance(one, str) for pair in value.items() for one in pair
    )
    if not good:
        raise DataError(f"{name} must be a dict from {of}, got {value!r}; write such as {example}")
    return dict(value)


def check_column(role: str, value: Any) -> str:
    """The name of a column, or a text with names of columns in braces.

    Raises:
        DataError: if it names none.
    """
    if not isinstance(value, str):
        raise DataError(
            f"{role} must be the name of a column, or a text with names in braces, got {value!r}; "
            "write it as text"
        )
    if not columns_in(value):
        raise DataError(
            f"{role} must name a column in braces, got {value!r}; write such as '{{text}}'"
        )
    return value


def check_known(kind: str, name: Any, known: Iterable[str]) -> str:
    """One of the tasks of a collection.

    Raises:
        DataError: if there is none of this name.
    """
    names = list(known)
    if name not in names:
        raise DataError(
            f"a {kind} task must be one of {', '.join(names)}, got {name!r}; "
            f"{did_you_mean(name, names)}"
        )
    return str(name)
