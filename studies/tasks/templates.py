"""Texts that are made of columns, such as ``"{word}: {sentence}"``."""

from __future__ import annotations

import string
from typing import Any

from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.tables import Table


def columns_in(text: str | None) -> tuple[str, ...]:
    """The names in a text such as ``"{word}: {sentence}"``; without braces it is one itself.

    Raises:
        DataError: if a brace stands for nothing, or for more than a name.
    """
    if text is None:
        return ()
    if "{" not in text:
        return (text,)
    return tuple(dict.fromkeys(name for _, name in _pieces(text) if name is not None))


def texts_in(table: Table, column: str) -> list[str]:
    """A column of texts, or the texts that a text with names in braces makes of several.

    Raises:
        DataError: if a row holds none.
    """
    if "{" in column:
        pieces = _pieces(column)
        return [
            "".join(
                literal + ("" if name is None else _written(table.columns[name][row]))
                for literal, name in pieces
            )
            for row in range(len(table))
        ]
    values = table.columns[column]
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise DataError(
                f"column {column!r} of {table.where} must hold texts, got {value!r} in row {row}; "
                "name another column or drop the row"
            )
    return values


def _pieces(text: str) -> list[tuple[str, str | None]]:
    """What stands before each name, and the name; ``None`` behind the last."""
    try:
        parsed = list(string.Formatter().parse(text))
        plain = all(name is None or (name and not (spec or how)) for _, name, spec, how in parsed)
        why = "" if plain else "a brace holds a name and nothing else"
    except ValueError as error:
        why = str(error)
    if why:
        raise DataError(
            f"a text with columns must have their names in braces, got {text!r} ({why}); "
            "write {{ and }} for braces that stay"
        )
    return [(literal, name) for literal, name, _, _ in parsed]


def _written(value: Any) -> str:
    return "" if value is None else str(value)
