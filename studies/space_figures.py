"""The figures of a search space: architectures by parameters, and what a budget leaves."""

from __future__ import annotations

import html
import math
from collections.abc import Callable

import plotly.graph_objects as go

from peftnas.search.report.figures.theme import LIGHT, Theme, empty, styled
from peftnas.studies.space_facts import Bin, SpaceFacts

_HEIGHT = 380
_MOST_TICKS = 8
_SAMPLE_WORDS = 70  # characters of a line of hovered words


def histogram_figure(facts: SpaceFacts, theme: Theme = LIGHT) -> go.Figure:
    """Architectures by trainable parameters; both in the logarithm."""
    figure = styled(go.Figure(), theme, height=_HEIGHT)
    bins = [one for one in facts.histogram if one.size.high > 0]
    if not bins:
        return empty(figure, theme, "nothing to draw")
    heights = [math.log10(one.size.high) + 1 for one in bins]
    figure.add_bar(
        x=[_range_words(one) for one in bins],
        y=heights,
        marker={"color": theme.front},
        hovertext=[f"{_range_words(one)} parameters<br>{one.size} architectures" for one in bins],
        hovertemplate="%{hovertext}<extra></extra>",
        name="architectures",
    )
    figure.update_xaxes(title_text="trainable parameters", type="category", tickangle=-30)
    # a bar of one architecture has a height too
    _power_axis(figure, max(heights), offset=1)
    return figure


def budget_figure(facts: SpaceFacts, theme: Theme = LIGHT) -> go.Figure:
    """How many architectures a budget leaves; the ten samples at their parameters."""
    figure = styled(go.Figure(), theme, height=_HEIGHT)
    points = {row.max_parameters: row.size.low for row in facts.curve}
    if not points:
        return empty(figure, theme, "there is nothing to count, or too entangled to count it")
    whole = facts.backbone_parameters
    figure.add_scatter(
        x=list(points),
        y=[math.log10(number) for number in points.values()],
        mode="lines",
        line={"color": theme.front, "width": 2},
        name="architectures within the budget",
        hovertext=[
            f"at most {budget:,} parameters ({100 * budget / whole:.3g} %)<br>{number:,}"
            for budget, number in points.items()
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    samples = [one for one in facts.samples if one.trainable_parameters]
    figure.add_scatter(
        x=[one.trainable_parameters for one in samples],
        y=[math.log10(points[one.trainable_parameters]) for one in samples],
        mode="markers",
        marker={"color": theme.baseline, "size": 9, "symbol": "diamond"},
        name="samples",
        hovertext=[
            f"{one.trainable_parameters:,} parameters<br>{_wrapped(one.architecture.words())}"
            for one in samples
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    figure.update_xaxes(title_text="budget: trainable parameters", type="log")
    _power_axis(figure, math.log10(max(points.values())), offset=0)
    return figure


FIGURES: dict[str, Callable[[SpaceFacts, Theme], go.Figure]] = {
    "histogram": histogram_figure,
    "budgets": budget_figure,
}


def _power_axis(figure: go.Figure, most: float, offset: int) -> None:
    """Powers of ten along y, which holds logarithms: counts are too large for floats."""
    top = math.floor(most) - offset
    step = max(1, math.ceil((top + 1) / _MOST_TICKS))
    powers = list(range(0, top + 1, step))
    figure.update_yaxes(
        title_text="architectures",
        tickvals=[power + offset for power in powers],
        ticktext=[f"10<sup>{power}</sup>" if power > 3 else f"{10**power:,}" for power in powers],
        range=[0, most * 1.06 or 1],
    )


def _range_words(one: Bin) -> str:
    return f"{one.low:,}" if one.low == one.high else f"{one.low:,} – {one.high:,}"


def _wrapped(words: str) -> str:
    """Words over several lines, as a hover shows them."""
    lines: list[str] = []
    line = ""
    for word in words.split():
        if len(line) + len(word) > _SAMPLE_WORDS:
            lines, line = [*lines, line], ""
        line = f"{line} {word}".strip()
    return "<br>".join(html.escape(one) for one in [*lines, line])
