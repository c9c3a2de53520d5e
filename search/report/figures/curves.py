"""Learning curves: the metric on validation against the step, one line a trial."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import plotly.graph_objects as go

from peftnas.search.report.figures.front import nothing_yet
from peftnas.search.report.figures.points import hover, row_id, title, varying
from peftnas.search.report.figures.symlog import Symlog
from peftnas.search.report.figures.theme import LIGHT, Theme, empty, styled
from peftnas.search.results import StudyResults, TrialRow


def curves_figure(results: StudyResults, theme: Theme = LIGHT) -> go.Figure:
    """The validation metric against the step: front bold, coloured by parameters; others thin.

    Args:
        results: of the study.
        theme: colours.
    """
    figure = styled(go.Figure(), theme, height=360)
    metric = curve_metric(results)
    rows = [row for row in (*results.trials, *results.baselines) if _points(row, metric)]
    if metric is None or not rows:
        return empty(figure, theme, nothing_yet(results))
    best = {row.number for row in results.front()}
    trials = [row for row in rows if row.baseline is None and row.number not in best]
    front = [row for row in rows if row.baseline is None and row.number in best]
    groups = {
        "failed": [row for row in trials if row.state == "failed"],
        "dominated": [row for row in trials if row.state != "failed"],
        "untuned baseline": [row for row in rows if row.baseline is not None],
    }
    styles = {
        "failed": {"color": theme.failed, "width": 1.2, "dash": "dot"},
        "dominated": {"color": theme.dominated, "width": 1},
        "untuned baseline": {"color": theme.baseline, "width": 1.5, "dash": "dash"},
    }
    for name in ("dominated", "failed", "untuned baseline"):
        if groups[name]:
            opacity = 0.4 if name == "dominated" else 0.8
            _bundle(figure, name, groups[name], metric, results, styles[name], opacity)
    _front(figure, front, metric, results, theme)
    figure.update_xaxes(title_text="step", rangemode="tozero")
    figure.update_yaxes(title_text=f"{html.escape(metric.replace('_', ' '))} on validation")
    return figure


def curve_metric(results: StudyResults) -> str | None:
    """The metric that the curves show: the first objective that was measured, else the loss."""
    rows = (*results.trials, *results.baselines)
    names = {name for row in rows for entry in row.curve for name in entry}
    measured = [goal.name for goal in results.objectives if goal.name in names]
    return measured[0] if measured else "loss" if "loss" in names else None


def _points(row: TrialRow, metric: str | None) -> list[tuple[float, float]]:
    """(step, value) of each evaluation with a finite value of the metric."""
    values = [(entry["step"], entry.get(metric or "", math.nan)) for entry in row.curve]
    return [(step, value) for step, value in values if math.isfinite(value)]


def _bundle(
    figure: go.Figure,
    name: str,
    rows: Sequence[TrialRow],
    metric: str,
    results: StudyResults,
    line: dict[str, object],
    opacity: float,
) -> None:
    """Add many curves as one trace, with gaps between them: hundreds stay quick to draw."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    ids: list[str | None] = []
    texts: list[str | None] = []
    fields = varying(results.finished)
    for row in rows:
        points = _points(row, metric)
        xs += [*(step for step, _ in points), None]
        ys += [*(value for _, value in points), None]
        ids += [*(row_id(row) for _ in points), None]
        texts += [*(hover(row, results, fields) for _ in points), None]
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="lines",
        line=line,
        opacity=opacity,
        connectgaps=False,
        name=name,
        customdata=ids,
        hovertext=texts,
        hovertemplate="step %{x}: %{y:.4f}<br>%{hovertext}<extra></extra>",
    )


def _front(
    figure: go.Figure,
    rows: Sequence[TrialRow],
    metric: str,
    results: StudyResults,
    theme: Theme,
) -> None:
    """Add the curves of the front, each in the colour of its number of parameters."""
    counts = [row.trainable_parameters for row in rows]
    scale = Symlog.of(counts)
    places = [scale(count) for count in counts]
    low, high = min(places, default=0.0), max(places, default=0.0)
    fields = varying(results.finished)
    for row, place in sorted(zip(rows, places, strict=True), key=lambda pair: pair[1]):
        points = _points(row, metric)
        colour = _mix(theme.few, theme.many, (place - low) / (high - low) if high > low else 0.5)
        figure.add_scatter(
            x=[step for step, _ in points],
            y=[value for _, value in points],
            mode="lines+markers",
            line={"color": colour, "width": 2.5},
            marker={"color": colour, "size": 6},
            name=title(row),
            showlegend=False,
            customdata=[row_id(row)] * len(points),
            hovertext=[hover(row, results, fields)] * len(points),
            hovertemplate="step %{x}: %{y:.4f}<br>%{hovertext}<extra></extra>",
        )
    if high > low:
        _colour_bar(figure, scale, max(counts), (low, high), theme)


def _colour_bar(
    figure: go.Figure, scale: Symlog, largest: float, span: tuple[float, float], theme: Theme
) -> None:
    """Add the legend of the front's colours: a bar from few to many parameters."""
    low, high = span
    ticks = [(p, t) for p, t in zip(*scale.ticks(largest), strict=True) if low <= p <= high]
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        marker={
            "color": [low],
            "cmin": low,
            "cmax": high,
            "colorscale": [[0, theme.few], [1, theme.many]],
            "showscale": True,
            "colorbar": {
                "title": {"text": "front:<br>parameters", "side": "top", "font": {"size": 11}},
                "tickvals": [place for place, _ in ticks],
                "ticktext": [label for _, label in ticks],
                "tickfont": {"size": 11},
                "thickness": 10,
                "outlinewidth": 0,
            },
        },
    )


def _mix(few: str, many: str, share: float) -> str:
    """The colour that lies ``share`` of the way from one hex colour to another."""
    pairs = ((int(few[i : i + 2], 16), int(many[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)
