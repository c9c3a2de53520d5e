"""The Pareto front: the first objective against the second, baselines beside it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import accumulate
from textwrap import wrap

import numpy as np
import plotly.graph_objects as go

from peftnas.search.objectives import Objective
from peftnas.search.pareto import minimised, non_dominated
from peftnas.search.report.figures.labels import Coordinates, add_names
from peftnas.search.report.figures.points import axes, axis, hover, number, row_id, title, varying
from peftnas.search.report.figures.theme import LIGHT, Theme, empty, styled
from peftnas.search.results import StudyResults, TrialRow

_NAME_WIDTH = 17  # letters of a baseline's name on one line
SYMBOLS = ("square", "diamond", "triangle-up", "star", "cross", "pentagon", "hexagram")


def front_figure(results: StudyResults, theme: Theme = LIGHT) -> go.Figure:
    """The first objective against the second: front, dominated points, untuned baselines.

    With one objective: its value against the trial's number, the best so far as a line. With
    more than two: the first two, where a point counts as on the front if it is so in all.

    Args:
        results: of the study.
        theme: colours.
    """
    figure = styled(go.Figure(), theme, height=480)
    done = list(results.finished)
    baselines = [row for row in results.baselines if row.values]
    if not done and not baselines:
        return empty(figure, theme, nothing_yet(results))
    if len(results.objectives) == 1:
        return _one_objective(figure, results, theme)

    y, x = (results.objectives[i] for i in axes(results.objectives))
    scale, along = axis(x, [row.values[x.name] for row in done + baselines])
    figure.update_xaxes(**along)
    figure.update_yaxes(title_text=html.escape(y.words.replace("_", " ")))

    def places(rows: Sequence[TrialRow]) -> Coordinates:
        raw = [row.values[x.name] for row in rows]
        return [scale(v) for v in raw] if scale else raw, [row.values[y.name] for row in rows]

    on_front, beaten = split(results)
    fields = varying(done)
    _points(figure, "dominated", beaten, places(beaten), results, fields, _dim(theme))
    stairs = places(staircase([row for row in done if not row.over], y, x))
    figure.add_scatter(
        x=stairs[0],
        y=stairs[1],
        mode="lines",
        line={"shape": "hv", "color": theme.front, "width": 2},
        hoverinfo="skip",
        showlegend=False,
        name="front line",
    )
    line, own = _along(stairs), places(done)
    # a name on the front's line is worse than one on a few dominated points
    drawn = own[0] + 3 * line[0], own[1] + 3 * line[1]
    # a bare head on the front lies where its baseline does, and is to be seen
    _baselines(figure, baselines, places(baselines), drawn, results, theme)
    _points(figure, "on the front", on_front, places(on_front), results, fields, _bright(theme))
    return figure


def split(results: StudyResults) -> tuple[list[TrialRow], list[TrialRow]]:
    """The finished trials: those on the front; those dominated by one or over a constraint."""
    front = results.front()
    numbers = {row.number for row in front}
    return list(front), [row for row in results.finished if row.number not in numbers]


def staircase(rows: Sequence[TrialRow], y: Objective, x: Objective) -> list[TrialRow]:
    """The rows that no other beats in ``y`` and ``x``, from the best to the worst ``x``."""
    values = [(row.values[y.name], row.values[x.name]) for row in rows]
    costs = minimised(values, [y.direction, x.direction])
    front: list[int] = np.flatnonzero(non_dominated(costs)).tolist()
    return [rows[i] for i in sorted(front, key=lambda i: (costs[i, 1], costs[i, 0]))]


def _along(stairs: Coordinates) -> Coordinates:
    """Some places on the front's line, for names to keep clear of."""
    xs, ys = stairs
    steps = zip(xs, xs[1:], ys, ys[1:], strict=False)
    places = [
        place
        for left, right, low, high in steps
        for place in (
            *((left + (right - left) * k / 4, low) for k in range(5)),
            (right, (low + high) / 2),
        )
    ]
    return [x for x, _ in places], [y for _, y in places]


def nothing_yet(results: StudyResults) -> str:
    """Why there is nothing to draw."""
    failed = sum(row.state == "failed" for row in results.trials)
    if failed:
        return f"No trial finished: {failed} failed.<br>The table below says why."
    return "No trial has finished yet."


def _dim(theme: Theme) -> dict[str, object]:
    return {"color": theme.dominated, "size": 8, "opacity": 0.5}


def _bright(theme: Theme) -> dict[str, object]:
    return {"color": theme.front, "size": 11, "line": {"color": theme.surface, "width": 1.5}}


def _points(
    figure: go.Figure,
    name: str,
    rows: Sequence[TrialRow],
    places: Coordinates,
    results: StudyResults,
    fields: Sequence[str],
    marker: dict[str, object],
) -> None:
    """Add one trace of trials; nothing when there are none."""
    if rows:
        figure.add_scatter(
            x=places[0],
            y=places[1],
            mode="markers",
            marker=marker,
            name=name,
            customdata=[row_id(row) for row in rows],
            hovertext=[hover(row, results, fields) for row in rows],
            hovertemplate="%{hovertext}<extra></extra>",
        )


def _baselines(
    figure: go.Figure,
    rows: Sequence[TrialRow],
    places: Coordinates,
    others: Coordinates,
    results: StudyResults,
    theme: Theme,
) -> None:
    """Add the baselines as one trace, each with a shape and its name beside it.

    Args:
        others: the places of the trials, which names should not cover.
    """
    if not rows:
        return
    names = ["<br>".join(wrap(html.escape(title(row)), _NAME_WIDTH)) for row in rows]
    figure.add_scatter(
        x=places[0],
        y=places[1],
        mode="markers",
        marker={
            "symbol": [SYMBOLS[i % len(SYMBOLS)] for i in range(len(rows))],
            "color": theme.baseline,
            "size": 12,
            "line": {"color": theme.surface, "width": 1.5},
        },
        name="untuned baseline",
        customdata=[row_id(row) for row in rows],
        hovertext=[hover(row, results, list(row.recipe)) for row in rows],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    add_names(figure, names, places, others, theme)


def _one_objective(figure: go.Figure, results: StudyResults, theme: Theme) -> go.Figure:
    """Value against trial number, with the best so far as a line and baselines as levels."""
    goal = results.objectives[0]
    top, rest = split(results)
    fields = varying(results.finished)
    for name, rows, marker in (("trial", rest, _dim(theme)), ("best", top, _bright(theme))):
        places = [float(row.number) for row in rows], [row.values[goal.name] for row in rows]
        _points(figure, name, rows, places, results, fields, marker)
    better = max if goal.direction == "maximize" else min
    within = [row for row in results.finished if not row.over]
    figure.add_scatter(
        x=[row.number for row in within],
        y=list(accumulate((row.values[goal.name] for row in within), better)),
        mode="lines",
        line={"shape": "hv", "color": theme.front, "width": 2},
        hoverinfo="skip",
        name="best so far",
    )
    for row in results.baselines:
        if row.values:
            value = row.values[goal.name]
            figure.add_hline(
                y=value,
                line={"color": theme.baseline, "dash": "dot", "width": 1.5},
                annotation={
                    "text": f"{html.escape(title(row))} {number(goal, value)} (untuned)",
                    "font": {"color": theme.baseline, "size": 12},
                },
                annotation_position="bottom right",
            )
    figure.update_xaxes(title_text="trial", rangemode="tozero")
    figure.update_yaxes(title_text=html.escape(goal.words.replace("_", " ")))
    return figure
