"""Labels as a column holds them, turned into class numbers or targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.tables import Table

_WITHHELD = {"-1", "-1.0", "None", ""}


def is_hidden(table: Table, column: str, names: Sequence[str]) -> bool:
    """Whether a test split withholds its labels: it has no such column, or only -1 as in GLUE.

    Args:
        table: the test split.
        column: name of the label column.
        names: classes of the training split; where -1 is a class of its own, it hides nothing.
    """
    values = {str(value) for value in table.columns.get(column, [])}
    return values <= _WITHHELD and not values & set(names)


def class_names(table: Table, column: str, metrics: Sequence[str] = ()) -> tuple[str, ...]:
    """The classes of a training table: as its source declares them, else sorted.

    Whole numbers are sorted as numbers, written as digits or not.

    Args:
        table: the training split.
        column: name of the label column.
        metrics: that have to fit the number of classes.
    Raises:
        DataError: if a label is missing or is none, or there are fewer than two classes, or not
            two for a metric of two.
    """
    declared = table.class_names.get(column)
    values = _written(table, column)
    names = declared or tuple(sorted(set(values), key=_sort_key))
    present = set(values)
    if len(present) < 2:
        raise DataError(
            f"column {column!r} of {table.where} must have at least two classes, "
            f"got only {next(iter(present))!r}; add rows of another class"
        )
    if "f1" in metrics and len(names) != 2:
        raise DataError(
            f"metric 'f1' needs two classes, of which it is of number 1, got {len(names)} in "
            f"column {column!r} of {table.where}; use macro_f1"
        )
    return names


def class_numbers(table: Table, column: str, names: Sequence[str]) -> NDArray[np.int64]:
    """The class number of each row, shape (n,).

    Raises:
        DataError: if a row has a class that the training rows do not have.
    """
    number = {name: index for index, name in enumerate(names)}
    values = _written(table, column)
    unseen = sorted(set(values) - set(number), key=_sort_key)
    if unseen:
        raise DataError(
            f"column {column!r} of {table.where} must hold classes of the training split, got "
            f"{', '.join(map(repr, unseen[:5]))}{', ...' if len(unseen) > 5 else ''}; "
            "correct the labels or drop those rows"
        )
    return np.array([number[value] for value in values], dtype=np.int64)


def lists_in(
    table: Table, column: str, what: str, separator: str | None = None
) -> list[list[str]]:
    """The list of each row, its items as texts; class numbers of a source become their names.

    Args:
        table: of any split.
        column: of lists, or of texts with something between the items.
        what: they hold, for the message.
        separator: between the items of a text; ``None``: spaces.
    Raises:
        DataError: if a row holds no list of texts or numbers, or a number that is no class.
    """
    declared = table.class_names.get(column)
    found = []
    for row, value in enumerate(table.columns[column], start=1):
        items = value.split(separator) if isinstance(value, str) else value
        if items is None:
            items = []
        if not isinstance(items, Sequence | np.ndarray) or not all(map(_is_plain, items)):
            raise DataError(
                f"column {column!r} of {table.where} must hold lists of {what}, or texts with "
                f"something between them, got {value!r} in row {row}; correct or drop that row"
            )
        found.append([_name(one, declared, f"{column!r} of {table.where}", row) for one in items])
    return found


def _name(value: Any, declared: Sequence[str] | None, where: str, row: int) -> str:
    """An item of a list as text; a class number as its name."""
    if declared is None or not isinstance(value, int | np.integer):
        return str(value)
    if not 0 <= value < len(declared):
        raise DataError(
            f"column {where} must hold class numbers from 0 to {len(declared) - 1}, or names, got "
            f"{value} in row {row}; drop rows without a label"
        )
    return declared[int(value)]


def _is_plain(value: Any) -> bool:
    """Whether it is a text or a finite number."""
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    return isinstance(value, str | int | np.integer)


def targets(table: Table, column: str, *, varied: bool = False) -> NDArray[np.float32]:
    """The number of each row, shape (n,).

    Raises:
        DataError: if a row's label is not a finite number, or ``varied`` numbers are all equal.
    """
    numbers = []
    for row, value in enumerate(table.column(column, "label"), start=1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise DataError(
                f"column {column!r} of {table.where} must hold finite numbers, got {value!r} "
                f"in row {row}; correct it or use TextClassification"
            )
        numbers.append(number)
    if varied and len(set(numbers)) < 2:
        raise DataError(
            f"column {column!r} of {table.where} must hold different numbers, got only "
            f"{numbers[0]:g}; add rows with others"
        )
    return np.array(numbers, dtype=np.float32)


def _written(table: Table, column: str) -> list[str]:
    """Labels as strings; numbers of a ClassLabel become its names."""
    values = table.column(column, "label")
    names = table.class_names.get(column)
    written = []
    for row, value in enumerate(values, start=1):
        nothing = value is None or (isinstance(value, float) and math.isnan(value))
        if nothing or (isinstance(value, str) and not value):
            given = "nan" if isinstance(value, float) else "none"
            raise DataError(
                f"column {column!r} of {table.where} must have a label in every row, got {given} "
                f"in row {row}; fill it in or drop the row"
            )
        if not _is_plain(value):
            raise DataError(
                f"column {column!r} of {table.where} must hold one class a row, got {value!r} "
                f"in row {row}; name another column"
            )
        if names is not None and isinstance(value, int) and 0 <= value < len(names):
            written.append(names[value])
        elif isinstance(value, float) and value.is_integer():
            written.append(str(int(value)))
        else:
            written.append(str(value))
    return written


def _sort_key(name: str) -> tuple[int, int, str]:
    digits = name.removeprefix("-")
    return (0, int(name), name) if digits.isascii() and digits.isdigit() else (1, 0, name)
