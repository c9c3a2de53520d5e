"""The table of all trials as HTML; ``assets/report.js`` makes it sort and filter."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peftnas.search.arms import own_values
from peftnas.search.objectives import COSTS, Objective
from peftnas.search.report.figures.points import number, plain, row_id, title, varying
from peftnas.search.results import StudyResults, TrialRow

_STATES = {"complete": "finished", "stopped": "stopped early", "refused": "not trained"}
_MISSING = "–"

Key = float | str | None


@dataclass(frozen=True)
class _Column:
    """One column.

    Attributes:
        name: its head.
        kind: CSS class: "num" (to the right), "prose" (breaks into lines), "plain", "dot".
        cell: row -> text, not escaped, and what it sorts by; ``None`` comes last either way.
        order: ``aria-sort`` of the head when the page opens.
    """

    name: str
    kind: str
    cell: Callable[[TrialRow], tuple[str, Key]]
    order: str = "none"


def table_html(results: StudyResults) -> str:
    """All trials and baselines, failed ones with their reason; sorted by the first objective."""
    columns = _columns(results)
    front = {row_id(row) for row in results.front()}
    rows = sorted((*results.trials, *results.baselines), key=lambda row: _order(row, results))
    head = "".join(_head(column) for column in columns)
    body = "\n".join(_row(row, columns, row_id(row) in front) for row in rows)
    return (
        f'<table id="trials"><caption class="hidden">All trials and baselines</caption>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    )


def _columns(results: StudyResults) -> list[_Column]:
    front = {row_id(row) for row in results.front()}
    first = results.objectives[0]
    order = "descending" if first.direction == "maximize" else "ascending"
    return [
        _Column("trial", "plain", _name),
        _Column("front", "dot", lambda row: ("●", 1) if row_id(row) in front else ("", 0)),
        *(_objective(goal, order if goal is first else "none") for goal in results.objectives),
        *(_cost(name) for name in results.measured_costs()),
        _Column("architecture", "prose words", lambda row: (row.words or _MISSING, row.words)),
        *(_recipe(field) for field in _shown((*results.trials, *results.baselines))),
        _Column("seconds", "num", _seconds),
        _Column("state", "prose", _state),
    ]


def _objective(goal: Objective, order: str) -> _Column:
    def cell(row: TrialRow) -> tuple[str, Key]:
        value = row.values.get(goal.name)
        return (_MISSING, None) if value is None else (number(goal, value), value)

    return _Column(goal.words.replace("_", " "), "num", cell, order)


def _cost(name: str) -> _Column:
    def cell(row: TrialRow) -> tuple[str, Key]:
        value = row.costs.get(name)
        return (_MISSING, None) if value is None else (COSTS[name].words(value), value)

    return _Column(COSTS[name].title, "num", cell)


def _shown(rows: Sequence[TrialRow]) -> list[str]:
    """The fields of the recipe that vary, or that some method has a value of its own for."""
    names = list(next((row.recipe for row in rows if row.recipe), {}))
    differ = varying(rows)
    own = {name for name in names for row in rows if own_values(row.architecture, name)}
    return [name for name in names if name in differ or name in own]


def _recipe(field: str) -> _Column:
    """A field of the recipe, and what methods have in its place."""

    def cell(row: TrialRow) -> tuple[str, Key]:
        value = row.recipe.get(field)
        own = own_values(row.architecture, field)
        parts = [f"{kind} {plain(other)}" for kind, other in own.items()]
        if value is None:
            return "; ".join(parts) or _MISSING, None
        return "; ".join([plain(value), *parts]), value

    return _Column(field.replace("_", " "), "num", cell)


def _name(row: TrialRow) -> tuple[str, Key]:
    return (
        (str(row.number), row.number) if row.baseline is None else (title(row), row.number - 1e9)
    )


def _seconds(row: TrialRow) -> tuple[str, Key]:
    seconds = row.timing.get("wall_s")
    if seconds is None:
        return _MISSING, None
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:,.0f}", seconds


def _state(row: TrialRow) -> tuple[str, Key]:
    words = _STATES.get(row.state, row.state)
    if row.baseline is not None:
        words += ", untuned baseline"
    if row.over:
        words += f", over a limit: {'; '.join(row.over)}"
    text = f"{words}: {row.reason}" if row.reason else words
    return text, text


def _order(row: TrialRow, results: StudyResults) -> tuple[bool, float, int]:
    """Finished rows by their first objective, best first; then all others."""
    if not row.values:
        return True, 0.0, row.number
    first = results.objectives[0]
    sign = -1.0 if first.direction == "maximize" else 1.0
    return False, sign * row.values[first.name], row.number


def _head(column: _Column) -> str:
    return (
        f'<th scope="col" class="{column.kind}" aria-sort="{column.order}">'
        f'<button type="button">{html.escape(column.name)}</button></th>'
    )


def _row(row: TrialRow, columns: list[_Column], on_front: bool) -> str:
    marks = {"on-front": on_front, "base": row.baseline is not None}
    kinds = [row.state, *(name for name, is_so in marks.items() if is_so)]
    cells = []
    for column in columns:
        text, key = column.cell(row)
        sort = "" if key is None else html.escape(str(key), quote=True)
        cells.append(f'<td class="{column.kind}" data-sort="{sort}">{html.escape(text)}</td>')
    return f'<tr id="{row_id(row)}" class="{" ".join(kinds)}">{"".join(cells)}</tr>'
