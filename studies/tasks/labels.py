"""Labels as a column holds them, turned into class numbers or targets."""

from __future__ import annotations

import math
from collections.abc import Sequence

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


def class_names(table: Table, column: str) -> tuple[str, ...]:
    """The classes of a training table: as its source declares them, else sorted.

    Whole numbers are sorted as numbers, written as digits or not.

    Raises:
        DataError: if a label is missing, or there are fewer than two classes.
    """
    declared = table.class_names.get(column)
    values = _written(table, column)
    names = declared or tuple(sorted(set(values), key=_sort_key))
    present = set(values)
    if len(present) < 2:
        raise DataError(
            f"column {column!r} of {table.where} must have at least two classes, "
            f"got only {next(iter(present))!r}; a classifier has nothing to learn there"
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


def targets(table: Table, column: str) -> NDArray[np.float32]:
    """The number of each row, shape (n,).

    Raises:
        DataError: if a row's label is not a finite number.
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
    return np.array(numbers, dtype=np.float32)


def _written(table: Table, column: str) -> list[str]:
    """Labels as strings; numbers of a ClassLabel become its names."""
    values = table.column(column, "label")
    names = table.class_names.get(column)
    written = []
    for row, value in enumerate(values, start=1):
        if value is None or value == "":
            raise DataError(
                f"column {column!r} of {table.where} must have a label in every row, got none "
                f"in row {row}; fill it in or drop the row"
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
