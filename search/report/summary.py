"""What the search found, in a few tiles and one small table: the best point in each budget."""

from __future__ import annotations

import html
from collections.abc import Sequence

from peftnas.search.objectives import Objective
from peftnas.search.report.facts import backbone_parameters
from peftnas.search.report.figures.points import axes, number, title
from peftnas.search.results import StudyResults, TrialRow

BUDGETS = (0.1, 1.0)  # percent of the backbone's parameters


def tiles_html(results: StudyResults) -> str:
    """The headline numbers: finished, failed, on the front, the best value."""
    states = [row.state for row in results.trials]
    refused, running = states.count("refused"), states.count("running")
    besides = [f"{refused} {_plural(refused, 'proposal')} not trained"] if refused else []
    besides += [f"{running} begun and not finished"] if running else []
    stopped = states.count("stopped")
    besides += [f"{stopped} stopped early"] if stopped else []
    over = sum(bool(row.over) for row in results.finished)
    besides += [f"{over} of them over a measured limit"] if over else []
    finished, failed, front = len(results.finished), states.count("failed"), len(results.front())
    tiles = [
        (f"{finished}", ", ".join([_plural(finished, "finished trial"), *besides])),
        (f"{failed}", _plural(failed, "failed trial") + ", see the table" * (failed > 0)),
        (f"{front}", f"{_plural(front, 'point')} on the Pareto front"),
    ]
    if len(results.objectives) == 1:
        tiles.pop()
    goal = score_of(results)
    top = best(results.finished, results)
    if top is not None:
        tiles.append((number(goal, top.values[goal.name]), f"best {_name(goal)}, {title(top)}"))
    return "".join(
        f'<div class="tile"><b>{html.escape(value)}</b><span>{html.escape(words)}</span></div>'
        for value, words in tiles
    )


def budgets_html(results: StudyResults) -> str:
    """The best trial within each budget of parameters, beside the best untuned baseline there."""
    goal = score_of(results)
    lines = []
    for label, limit in _limits(backbone_parameters(results)):
        found = best(_within(results.finished, limit), results)
        other = best(_within(results.baselines, limit), results)
        if found is None and other is None:
            continue
        cells = [
            f"<td>{html.escape(label)}</td>",
            f'<td data-label="Best trial">{_point(found, goal, words=True)}</td>',
            f'<td data-label="Best untuned baseline">{_point(other, goal)}</td>',
            f'<td data-label="Difference">{_difference(found, other, goal)}</td>',
        ]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    if not lines:
        return ""
    heads = ("Trainable parameters", "Best trial", "Best untuned baseline", "Difference")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    return (
        f'<div class="budgets"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def score_of(results: StudyResults) -> Objective:
    """The objective that says how good a point is: the one that the front's figure draws up."""
    goals = results.objectives
    return goals[axes(goals)[0]] if len(goals) > 1 else goals[0]


def best(rows: Sequence[TrialRow], results: StudyResults) -> TrialRow | None:
    """The finished row within all constraints with the best value; of equals the smallest."""
    goal = score_of(results)
    sign = 1 if goal.direction == "minimize" else -1
    return min(
        (row for row in rows if row.values and not row.over),
        key=lambda row: (sign * row.values[goal.name], row.trainable_parameters),
        default=None,
    )


def _limits(backbone_parameters: int) -> list[tuple[str, float]]:
    limits = [
        (f"up to {percent:g} % ({int(backbone_parameters * percent / 100):,})", percent / 100)
        for percent in BUDGETS
    ]
    scaled = [(label, share * backbone_parameters) for label, share in limits]
    return (scaled if backbone_parameters else []) + [("any number", float("inf"))]


def _within(rows: Sequence[TrialRow], limit: float) -> list[TrialRow]:
    return [row for row in rows if row.trainable_parameters <= limit]


def _point(row: TrialRow | None, goal: Objective, *, words: bool = False) -> str:
    if row is None:
        return "–"
    text = f"<b>{number(goal, row.values[goal.name])}</b> {html.escape(title(row))}"
    detail = f"{row.trainable_parameters:,} parameters"
    if words and row.words:
        detail += f": {row.words}"
    return f"{text}<small>{html.escape(detail)}</small>"


def _difference(found: TrialRow | None, other: TrialRow | None, goal: Objective) -> str:
    if found is None or other is None:
        return "–"
    difference = found.values[goal.name] - other.values[goal.name]
    return f"{difference:+.4f}".replace("-", "\N{MINUS SIGN}")


def _name(goal: Objective) -> str:
    return goal.words.replace("_", " ")


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
