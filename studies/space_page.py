"""The page of ``peftnas space --plot``: one HTML file with the figures inside."""

from __future__ import annotations

import html
import json
from importlib import resources
from pathlib import Path

from plotly.offline import get_plotlyjs

from peftnas.search.report.figures.theme import DARK, LIGHT
from peftnas.studies.space_bins import short
from peftnas.studies.space_facts import SpaceFacts
from peftnas.studies.space_figures import FIGURES


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
    number = sum(one.size.low for one in facts.histogram)
    of = "Architectures" if facts.counted else f"{number} samples"
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
  const config = { displaylogo: false, responsive: true, displayModeBar: false };
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
pre {{ overflow: auto; margin: 8px 0 0;
  font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }}
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
