"""Files with one example a row, read whole: no row is dropped, joined or guessed."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftnas.studies.tasks.errors import DataError


@dataclass(frozen=True)
class Table:
    """Named columns of equal length.

    Attributes:
        columns: values by column name, in the file's order.
        where: what messages call it, such as ``train.tsv``.
        class_names: names of the class ids of a column, where the source declares them.
    """

    columns: dict[str, list[Any]]
    where: str
    class_names: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def column(self, name: str, role: str) -> list[Any]:
        """One column.

        Args:
            name: name of the column.
            role: the argument of the task that named it, for the message.
        Raises:
            DataError: if the table has no such column.
        """
        if name not in self.columns:
            known = ", ".join(map(repr, self.columns)) or "none"
            raise DataError(
                f"{role}={name!r} must be a column of {self.where}, which has {known}; "
                f"pass {role}= one of them"
            )
        return self.columns[name]


def read_table(path: Path) -> Table:
    """Read one csv, tsv, json, jsonl or parquet file, or images in an npz file.

    Raises:
        DataError: if it has no rows, a broken row, another encoding than UTF-8 or another format.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"a data file must end in {', '.join(READERS)}, got {path.name!r}")
    try:
        table = reader(path)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} must be UTF-8 text, but has the byte {error.object[error.start]:#04x} "
            f"at position {error.start}; save it as UTF-8"
        ) from error
    if len(table) == 0:
        raise DataError(f"{path} must have at least one row of data, got none; fill the file")
    return table


def _read_tsv(path: Path) -> Table:
    """Tabs separate, nothing quotes; lines end in ``\\n``, so odd characters stay in the text."""
    lines = [line.removesuffix("\r") for line in _text(path).split("\n")]
    table = _from_rows(
        path, [(number, line.split("\t")) for number, line in enumerate(lines, start=1) if line]
    )
    with path.open("rb") as file:
        expected = max(0, sum(1 for line in file if line.rstrip(b"\r\n")) - 1)
    if len(table) != expected:
        raise DataError(
            f"{path}: {expected} lines of data gave {len(table)} rows; report this file"
        )
    return table


def _read_csv(path: Path) -> Table:
    """Commas separate, double quotes quote; a quote out of place is an error, never a lost row."""
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            rows = []
            try:
                for row in reader:
                    if row:
                        rows.append((reader.line_num, row))
            except csv.Error as error:
                raise DataError(
                    f"{path}, line {reader.line_num}: {error}; double the quotes inside a quoted "
                    "field, or save it as tsv"
                ) from error
    finally:
        csv.field_size_limit(limit)
    return _from_rows(path, rows)


def _from_rows(path: Path, rows: Iterable[tuple[int, list[str]]]) -> Table:
    """A table from (line number, fields), the first of them the header."""
    numbered = iter(rows)
    header = [name.strip() for name in next(numbered, (0, []))[1]]
    if len(set(header)) != len(header):
        raise DataError(f"{path}: column names must differ, got {', '.join(map(repr, header))}")
    columns: dict[str, list[Any]] = {name: [] for name in header}
    for number, fields in numbered:
        if len(fields) != len(header):
            raise DataError(
                f"{path}, line {number}: a row must have {len(header)} fields like the header, "
                f"got {len(fields)}; correct that line"
            )
        for name, value in zip(header, fields, strict=True):
            columns[name].append(value)
    return Table(columns, path.name, {})


def _read_json(path: Path) -> Table:
    """A list of objects, an object with such a list under ``data``, or one object a line."""
    text = _text(path)
    if path.suffix.lower() == ".json":
        try:
            content = json.loads(text) if text.strip() else []
        except json.JSONDecodeError:
            content = None
        if isinstance(content, dict) and isinstance(content.get("data"), list):
            content = content["data"]
        if isinstance(content, list):
            return _from_objects(path, enumerate(content, start=1), "entry")
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    objects = []
    for number, line in lines:
        try:
            objects.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error.msg})") from error
    return _from_objects(path, objects, "line")


def _from_objects(path: Path, objects: Iterable[tuple[int, Any]], unit: str) -> Table:
    columns: dict[str, list[Any]] = {}
    for count, (number, row) in enumerate(objects):
        if not isinstance(row, dict):
            raise DataError(f"{path}, {unit} {number}: must be a JSON object, got {row!r:.60}")
        for name in row:
            columns.setdefault(str(name), [None] * count)
        for name, values in columns.items():
            values.append(row.get(name))
    return Table(columns, path.name, {})


def _read_parquet(path: Path) -> Table:
    import pyarrow
    from datasets import Dataset
    from pyarrow import parquet

    try:
        return from_dataset(Dataset(parquet.read_table(path)), path.name)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{path} must be a parquet file, but {error}") from error


def _read_npz(path: Path) -> Table:
    """Images; see ``pictures.py``."""
    from peftnas.studies.tasks.pictures import images_of

    images, labels, classes = images_of(path)
    names = {} if classes is None else {"label": classes}
    return Table({"image": images, "label": labels}, path.name, names)


def from_dataset(dataset: Any, where: str) -> Table:
    """A table from a ``datasets.Dataset``, its ClassLabel names included."""
    # of a column of lists, the classes are those of what the lists hold
    inner = {name: getattr(one, "feature", one) for name, one in dataset.features.items()}
    names = {name: tuple(one.names) for name, one in inner.items() if hasattr(one, "names")}
    columns = {column: list(dataset[column]) for column in dataset.column_names}
    return Table(columns, where, names)


def _text(path: Path) -> str:
    """The file's text as it is, without a byte order mark; line ends are not translated."""
    return path.read_bytes().decode("utf-8-sig")


READERS: dict[str, Callable[[Path], Table]] = {
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".npz": _read_npz,
}
