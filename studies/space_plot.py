"""The figures of ``peftnas space --plot``: one HTML file that opens offline."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from peftnas.search.report.figures.theme import DARK, LIGHT, Theme, empty, styled
from peftnas.studies.space_bins import short
from peftnas.studies.space_facts import Bin, SpaceFacts

_HEIGHT = 380
_MOST_TICKS = 8
_SAMPLE_WORDS = 70  # characters of a line of hovered words


def write_plot(facts: SpaceFacts, path: Path) -> Path:
    """Write the figures as one HTML file; returns its path.

    Args:
        facts: of the space.
        path: the file, in a folder that exists.
    """
    path.write_text(plot_html(facts), encoding="utf-8")
    return path


def plot_html(facts: SpaceFacts) -> str:
    """The page as text."""
    css = (resources.files("peftnas.search.report") / "assets/report.css").read_text("utf-8")
    of = "architectures" if facts.counted else f"{sum(b.size.low for b in facts.histogram)} samples"
    return _PAGE.format(
        title=html.escape(f"{facts.study.name}: search space"),
        light=LIGHT.css_variables(),
        dark=DARK.css_variables(),
        css=css,
        name=html.escape(facts.study.name),
        lead=html.escape(f"Search space on {facts.backbone.name}"),
        tiles=_tiles(facts),
        of=of,
        rows=_rows(facts),
        tree=html.escape(facts.bound.tree()),
        figures=_figures_json(facts),
        plotly=get_plotlyjs(),
        js=_JS,
    )


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
    points = _cumulated(facts)
    if not points:
        return empty(figure, theme, "the space is too entangled to count")
    whole = facts.backbone_parameters
    figure.add_scatter(
        x=[budget for budget, _ in points],
        y=[math.log10(number) for _, number in points],
        mode="lines+markers",
        line={"color": theme.front, "width": 2, "shape": "hv"},
        marker={"color": theme.front, "size": 5},
        name="architectures within the budget",
        hovertext=[
            f"at most {budget:,} parameters ({100 * budget / whole:.3g} %)<br>{number:,}"
            for budget, number in points
        ],
        hovertemplate="%{hovertext}<extra></extra>",
    )
    samples = [one for one in facts.samples if one.trainable_parameters]
    figure.add_scatter(
        x=[one.trainable_parameters for one in samples],
        y=[_within(points, one.trainable_parameters) for one in samples],
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
    _power_axis(figure, math.log10(points[-1][1]), offset=0)
    return figure


FIGURES: dict[str, Callable[[SpaceFacts, Theme], go.Figure]] = {
    "histogram": histogram_figure,
    "budgets": budget_figure,
}


def _cumulated(facts: SpaceFacts) -> list[tuple[int, int]]:
    """(budget, architectures within it), from what is counted exactly."""
    if not facts.counted:
        return []
    found, total = {}, 0
    for one in facts.histogram:
        total += one.size.low
        if one.high and total:
            found[one.high] = total
    found |= {row.max_parameters: row.size.low for row in facts.budgets if row.size.low}
    return sorted(found.items())


def _within(points: Sequence[tuple[int, int]], parameters: int) -> float:
    """The height of the curve at some parameters."""
    below = [number for budget, number in points if budget <= parameters]
    return math.log10(below[-1] if below else points[0][1])


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
    lines, line = [], ""
    for word in words.split():
        if len(line) + len(word) > _SAMPLE_WORDS:
            lines, line = [*lines, line], ""
        line = f"{line} {word}".strip()
    return "<br>".join(html.escape(one) for one in [*lines, line])


def _tiles(facts: SpaceFacts) -> str:
    low, high = facts.trainable_parameters
    whole = facts.backbone_parameters
    of = f"of the backbone's {whole:,}"
    exactly = facts.size.exact
    tiles = [
        (short(facts.size.high), f"distinct architectures{'' if exactly else ', at most'}"),
        (short(facts.raw_size.high), f"points{'' if facts.raw_size.exact else ', at most'}"),
        (f"{low:,} – {high:,}", "trainable parameters"),
        (f"{100 * low / whole:.3g} – {100 * high / whole:.3g} %", of),
    ]
    return "".join(
        f"<div class='tile'><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
        for value, name in tiles
    )


def _rows(facts: SpaceFacts) -> str:
    whole = facts.backbone_parameters
    return "".join(
        f"<tr><td>{one.trainable_parameters:,}</td>"
        f"<td>{100 * one.trainable_parameters / whole:.3g} %</td>"
        f"<td>{html.escape(one.architecture.words())}</td></tr>"
        for one in facts.samples
    )


def _figures_json(facts: SpaceFacts) -> str:
    """All figures in both themes; no text inside can end the script element it stands in."""
    figures = {
        name: {theme.name: json.loads(build(facts, theme).to_json()) for theme in (LIGHT, DARK)}
        for name, build in FIGURES.items()
    }
    return json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c")


_JS = """"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = { displaylogo: false, responsive: true,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  function draw() {
    for (const [name, themes] of Object.entries(figures)) {
      const { data, layout } = structuredClone(themes[dark.matches ? "dark" : "light"]);
      document.getElementById(name).style.height = `${layout.height}px`;
      delete layout.height;
      Plotly.react(name, data, layout, config);
    }
  }
  draw();
  dark.addEventListener("change", draw);
})();
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
:root {{ {light} }}
@media (prefers-color-scheme: dark) {{ @media not print {{ :root {{ {dark} }} }} }}
{css}
pre {{ overflow: auto; margin: 8px 0 0; font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }}
.samples td:first-child, .samples td:nth-child(2) {{ text-align: right; white-space: nowrap; }}
.samples td:nth-child(3) {{ min-width: 0; }}
</style>
</head>
<body>
<main>
<header>
<h1>{name}</h1>
<p class="lead">{lead}</p>
</header>
<noscript><p class="lead">The figures need JavaScript; the rest does not.</p></noscript>
<section class="tiles" aria-label="In short">{tiles}</section>
<div class="pair">
<section class="card">
<h2>How large they are</h2>
<p class="note">{of} by trainable parameters, without head; hover for exact numbers.</p>
<div id="histogram" class="figure" role="group" aria-label="Architectures by parameters"></div>
</section>
<section class="card">
<h2>What a budget leaves</h2>
<p class="note">Architectures with at most so many trainable parameters; samples as diamonds.</p>
<div id="budgets" class="figure" role="group" aria-label="Architectures within a budget"></div>
</section>
</div>
<section class="card">
<h2>Samples</h2>
<div class="budgets samples">
<table><thead><tr><th>parameters</th><th>of backbone</th><th>architecture</th></tr></thead>
<tbody>{rows}</tbody></table>
</div>
</section>
<section class="card">
<h2>The space</h2>
<pre>{tree}</pre>
</section>
<footer>Written by peftnas. This file needs no network.</footer>
</main>
<script type="application/json" id="figures">{figures}</script>
<script>{plotly}</script>
<script>{js}</script>
</body>
</html>
"""
