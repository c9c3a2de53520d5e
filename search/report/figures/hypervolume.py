"""Hypervolume against finished trials: how far the search has come, and whether it still moves."""

from __future__ import annotations

import html
from dataclasses import replace

import plotly.graph_objects as go

from peftnas.search.objectives import Objective
from peftnas.search.report.figures.front import nothing_yet
from peftnas.search.report.figures.points import hover, row_id, varying
from peftnas.search.report.figures.theme import LIGHT, Theme, empty, styled
from peftnas.search.results import StudyResults

UNTUNED = "untuned baselines"


def hypervolume_figure(results: StudyResults, theme: Theme = LIGHT) -> go.Figure:
    """Share of the objectives' box that is dominated, after each finished trial.

    Args:
        results: of the study.
        theme: colours.
    """
    figure = styled(go.Figure(), theme, height=360)
    done = results.finished
    if not done:
        return empty(figure, theme, nothing_yet(results))
    fields = varying(done)
    volumes = results.hypervolume()
    figure.add_scatter(
        x=list(range(1, len(done) + 1)),
        y=volumes,
        mode="lines+markers",
        line={"shape": "hv", "color": theme.front, "width": 2},
        marker={"color": theme.front, "size": 5},
        name="trials",
        customdata=[row_id(row) for row in done],
        hovertext=[hover(row, results, fields) for row in done],
        hovertemplate="after %{x} trials: %{y:.4f}<br>%{hovertext}<extra></extra>",
    )
    # on a logarithmic axis of counts a bare head would dominate all of it by itself
    tuned = tuple(row for row in results.baselines if row.trainable_parameters)
    untuned = replace(results, trials=tuned).hypervolume()
    if untuned:
        level = untuned[-1]
        figure.add_scatter(
            x=[1, max(2, len(done))],
            y=[level, level],
            mode="lines",
            line={"color": theme.baseline, "dash": "dot", "width": 2},
            name=UNTUNED,
            hovertemplate=UNTUNED + ": %{y:.4f}<extra></extra>",
        )
    figure.update_xaxes(title_text="finished trials", dtick=1 if len(done) < 10 else None)
    figure.update_yaxes(title_text="hypervolume", range=_range(volumes, untuned))
    return figure


def hypervolume_words(results: StudyResults) -> str:
    """What the figure's numbers mean, in plain words: the reference point above all."""
    goals = results.objectives
    worst = " and ".join(_level(goal, goal.worst) for goal in goals)
    best = " and ".join(_level(goal, goal.best) for goal in goals)
    words = (
        f"Share of the box between the reference point ({worst}, the worst possible) and the "
        f"ideal ({best}) that the finished trials dominate: larger is better, 1 cannot be reached."
    )
    if any(goal.log for goal in goals):
        words += " Counts enter by their logarithm; the baselines go without the bare head."
    return words


def _range(volumes: list[float], untuned: list[float]) -> list[float]:
    """The axis from where a tenth of the trials was done, so that what came later can be seen."""
    start = volumes[len(volumes) // 10]
    low, high = min([start, *untuned[-1:]]), max(volumes[-1:] + untuned[-1:])
    margin = 0.06 * (high - low) or 0.02
    return [low - margin, high + margin]


def _level(goal: Objective, value: float) -> str:
    """``accuracy 0``, ``22,713,216 trainable parameters``."""
    name = html.escape(goal.name.replace("_", " "))
    return f"{value:,.0f} {name}" if goal.log else f"{name} {value:g}"
