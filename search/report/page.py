"""The report's page: one HTML file with figures, table, style and script inside."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from peftnas.search.report.facts import facts_html, name_of, when
from peftnas.search.report.figures.curves import curve_metric, curves_figure
from peftnas.search.report.figures.front import front_figure
from peftnas.search.report.figures.hypervolume import hypervolume_figure, hypervolume_words
from peftnas.search.report.figures.theme import DARK, LIGHT, Theme
from peftnas.search.report.summary import budgets_html, tiles_html
from peftnas.search.report.table import table_html
from peftnas.search.report.words import words
from peftnas.search.results import StudyResults

# element of the page -> figure
FIGURES: dict[str, Callable[[StudyResults, Theme], go.Figure]] = {
    "front": front_figure,
    "hypervolume": hypervolume_figure,
    "curves": curves_figure,
}


def write_report(results: StudyResults, path: Path) -> Path:
    """Write the report as one HTML file that opens offline; returns its path.

    A report that is there already is replaced at once, so that a reader never sees half of one.

    Args:
        results: of the study.
        path: the file; its folder is made if need be.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(report_html(results), encoding="utf-8")
    unfinished.replace(path)
    return path


def report_html(results: StudyResults) -> str:
    """The report as text of one HTML file."""
    return _PAGE.format(
        title=html.escape(f"{results.name}: peftnas report"),
        light=LIGHT.css_variables(),
        dark=DARK.css_variables(),
        css=_asset("report.css"),
        name=html.escape(results.name),
        lead=html.escape(_lead(results)),
        details=html.escape(_details(results)),
        tiles=tiles_html(results),
        front_title=html.escape(_front_title(results)),
        front_words=html.escape(_front_words(results)),
        budgets=budgets_html(results),
        hypervolume_words=hypervolume_words(results),
        curves_words=html.escape(_curves_words(results)),
        table=table_html(results),
        facts=facts_html(results),
        figures=_figures_json(results),
        plotly=get_plotlyjs(),
        js=_asset("report.js"),
    )


def _asset(name: str) -> str:
    folder = resources.files("peftnas.search.report") / "assets"
    return (folder / name).read_text(encoding="utf-8")


def _figures_json(results: StudyResults) -> str:
    """All figures in both themes; no text inside can end the script element it stands in."""
    figures = {
        name: {theme.name: json.loads(build(results, theme).to_json()) for theme in (LIGHT, DARK)}
        for name, build in FIGURES.items()
    }
    return json.dumps(figures, separators=(",", ":")).replace("<", "\\u003c")


def _lead(results: StudyResults) -> str:
    goals = " and ".join(
        f"{goal.direction} {goal.words.replace('_', ' ')}" for goal in results.objectives
    )
    facts = results.facts
    about = [name_of(facts[name]) for name in ("task", "backbone") if facts.get(name)]
    return f"{' on '.join(about)}: {goals}" if about else goals


def _details(results: StudyResults) -> str:
    """When, on what machine, with which seed, in how large a space."""
    facts, seed = results.facts, results.content.get("seed")
    parts = [
        when(results),
        words(facts["machine"]) if facts.get("machine") else None,
        f"{words(facts['space_size'])} architectures" if facts.get("space_size") else None,
        None if seed is None else f"seed {seed}",
    ]
    return " · ".join(part for part in parts if part)


def _front_title(results: StudyResults) -> str:
    if len(results.objectives) == 1:
        return f"{results.objectives[0].name.replace('_', ' ').capitalize()} of each trial"
    return "Pareto front"


def _front_words(results: StudyResults) -> str:
    sentence = (
        "Each point is one architecture, trained and scored on validation; hover to read it, "
        "click to find its row. Baselines take the study's recipe, with a constant where it is "
        "searched; they were not tuned."
    )
    if len(results.objectives) > 2:
        sentence += (
            f" The study has {len(results.objectives)} objectives: a point is marked as on the "
            "front if it is so in all of them; the line joins the best in the two drawn."
        )
    return sentence


def _curves_words(results: StudyResults) -> str:
    metric = curve_metric(results)
    if metric is None:
        return "No trial has been evaluated yet."
    return (
        f"{metric.replace('_', ' ').capitalize()} on validation at each evaluation of a trial; "
        "the last one is its score."
    )


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
{css}</style>
</head>
<body>
<main>
<header>
<h1>{name}</h1>
<p class="lead">{lead}</p>
<p class="lead small">{details}</p>
</header>
<noscript><p class="lead">The figures need JavaScript; the table below does not.</p></noscript>
<section class="tiles" aria-label="In short">{tiles}</section>
<section class="card">
<h2>{front_title}</h2>
<p class="note">{front_words}</p>
<div id="front" class="figure" role="group" aria-label="{front_title}"></div>
{budgets}
</section>
<div class="pair">
<section class="card">
<h2>Hypervolume</h2>
<p class="note">{hypervolume_words}</p>
<div id="hypervolume" class="figure" role="group" aria-label="Hypervolume"></div>
</section>
<section class="card">
<h2>Learning curves</h2>
<p class="note">{curves_words}</p>
<div id="curves" class="figure" role="group" aria-label="Learning curves"></div>
</section>
</div>
<section class="card long">
<h2>All trials</h2>
<div class="tools">
<input type="search" id="filter" placeholder="Filter: lora, failed, 0.84 ..."
 aria-label="Filter the rows by words that they contain">
<label><input type="checkbox" id="only-front"> only the front</label>
<output id="shown" aria-live="polite"></output>
</div>
<div class="scroll" tabindex="0" role="region" aria-label="All trials">
{table}
</div>
</section>
<section class="card">
<h2>The run</h2>
{facts}
</section>
<footer>Written by peftnas. This file needs no network.</footer>
</main>
<script type="application/json" id="figures">{figures}</script>
<script>{plotly}</script>
<script>{js}</script>
</body>
</html>
"""
