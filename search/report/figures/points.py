"""Rows of a study as the figures see them: which axis shows what, who is on the front, hovers."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from peftnas.search.objectives import COSTS, MEASURED, Objective
from peftnas.search.report.figures.symlog import Symlog
from peftnas.search.results import StudyResults, TrialRow

_HOVER_WIDTH = 52


def row_id(row: TrialRow) -> str:
    """The row's identifier in page and figures: ``trial-12``, ``baseline-1``."""
    return f"{'trial' if row.baseline is None else 'baseline'}-{row.number}"


def title(row: TrialRow) -> str:
    """What to call a row: ``trial 12``, or the baseline's name."""
    return f"trial {row.number}" if row.baseline is None else row.baseline


def axes(objectives: Sequence[Objective]) -> tuple[int, int]:
    """Which of the first two objectives goes up the figure, and which along it.

    A metric goes up, a cost along; of two costs the one that is known before training.
    """
    first, second = (_price(known) for known in objectives[:2])
    return (1, 0) if first > second else (0, 1)


def _price(objective: Objective) -> int:
    """0 of a metric, 1 of a measured cost, 2 of an exact one."""
    if not objective.is_cost:
        return 0
    return 1 if objective.name in MEASURED else 2


def number(objective: Objective, value: float) -> str:
    """One objective's value for people: ``0.8472``, ``73,728``, ``0.325 %``, ``48.2 ms``."""
    if objective.name in MEASURED:
        return COSTS[objective.name].words(value)
    if objective.log and float(value).is_integer():
        words = f"{int(value):,}"
    else:
        words = f"{value:.4f}" if objective.unit == "" and abs(value) < 1000 else f"{value:.4g}"
    return f"{words} {objective.unit}" if objective.unit else words


def varying(rows: Iterable[TrialRow]) -> list[str]:
    """The recipe's fields that are not the same in all rows, in the recipe's order."""
    recipes = [row.recipe for row in rows if row.recipe]
    names = list(recipes[0]) if recipes else []
    return [name for name in names if len({repr(recipe.get(name)) for recipe in recipes}) > 1]


def recipe_words(recipe: dict[str, Any], fields: Iterable[str]) -> str:
    """Some of a recipe's fields in one line: ``learning rate 0.00123, schedule cosine``."""
    return ", ".join(
        f"{name.replace('_', ' ')} {plain(recipe[name])}" for name in fields if name in recipe
    )


def plain(value: Any) -> str:
    """A recipe value for people; floats with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def hover(row: TrialRow, results: StudyResults, fields: Sequence[str]) -> str:
    """The text beside a point: its architecture in words, its values, its recipe.

    Args:
        fields: of the recipe, to show.
    """
    lines = [f"<b>{html.escape(title(row))}</b>{'' if row.baseline is None else ' (untuned)'}"]
    lines += _wrapped(row.words)
    lines += [
        f"{html.escape(objective.name.replace('_', ' '))}: {number(objective, value)}"
        for objective, value in ((o, row.values[o.name]) for o in results.objectives if row.values)
    ]
    lines += _wrapped(recipe_words(row.recipe, fields))
    lines += [line for sentence in row.over for line in _wrapped(f"over a limit: {sentence}")]
    return "<br>".join(lines)


def axis(objective: Objective, values: Sequence[float]) -> tuple[Symlog | None, dict[str, Any]]:
    """How an objective is laid out along the figure: its scale, and Plotly's axis settings.

    Sizes spread over decades and may be 0, so they take a symmetric-log axis; scores and what is
    measured, seconds for example, do not.

    Returns:
        The scale that turns values into places (``None``: values are places), and settings.
    """
    named = {"title": {"text": html.escape(objective.words.replace("_", " "))}}
    if objective.source != "exact before training":
        return None, named
    scale = Symlog.of(values)
    places, labels = scale.ticks(max(values, default=0.0))
    widest = max((scale(value) for value in values), default=places[-1])
    return scale, named | {
        "tickvals": places,
        "ticktext": labels,
        "range": [-0.03 * widest - 0.05, widest * 1.05 + 0.05],
    }


def _wrapped(text: str) -> list[str]:
    return [html.escape(line) for line in textwrap.wrap(text, _HOVER_WIDTH)]
