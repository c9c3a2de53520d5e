"""Printing: tables for people, JSON for programs, and never both."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Where people read; words in square brackets are printed as they are."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value on stdout; NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_plain(value), indent=2))


def print_table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: int | None = None,
    wrapping: int = 1,
) -> None:
    """A table whose last columns wrap where the terminal is narrow.

    Args:
        title: above the table.
        heads: of the columns.
        rows: their cells.
        numbers: how many columns after the first are numbers, set to the right; all but the last
            by default, the first included.
        wrapping: how many of the last columns wrap, unless they are numbers.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    last = len(heads) - 1
    right = range(last) if numbers is None else range(1, 1 + numbers)
    if title:
        console().print(title)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    if _width(heads, rows) > Console(file=sys.stdout).width:
        heads = [_broken(head) if column in right else head for column, head in enumerate(heads)]
    for column, head in enumerate(heads):
        wraps = column > last - wrapping and column not in right
        justify: Literal["right", "left"] = "right" if column in right else "left"
        table.add_column(head, justify=justify, no_wrap=not wraps, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout).print(table)


def _width(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Of a table in which nothing wraps."""
    columns = zip(heads, *rows, strict=True)
    return sum(max(map(len, column)) + 2 for column in columns)


def _broken(head: str) -> str:
    """A head over several lines, one a word."""
    return head.replace("_", "_\n").replace(" ", "\n")


@contextlib.contextmanager
def stdout_for_json(wanted: bool) -> Iterator[None]:
    """While JSON is wanted, whatever libraries print goes to stderr instead of into it."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def number(value: float | int | None, *, whole: bool) -> str:
    """A number in a table: a whole one with its thousands grouped, another with 4 decimals."""
    if value is None:
        return "-"
    return f"{round(value):,}" if whole else f"{value:.4f}"


def hanging(head: str, text: str) -> str:
    """``text`` after ``head``, broken at the terminal's width, its lines below each other."""
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(
        text, width, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False
    )


def several(count: int, thing: str) -> str:
    """``1 point``, ``2 points``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
