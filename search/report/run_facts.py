"""Facts worked out from what runs and trials left: times, use of the workers, recipes."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from peftnas.search.report.figures.points import recipe_words, title, varying
from peftnas.search.report.words import spaced, words
from peftnas.search.results import StudyResults


def trial_times(results: StudyResults) -> dict[str, str]:
    """How long trials took, and what part of it was training, from the trials' own clocks."""
    timings = [row.timing for row in results.trials if row.timing.get("wall_s")]
    if not timings:
        return {}
    wall = [timing["wall_s"] for timing in timings]
    setup = [1000 * timing.get("setup_s", 0.0) for timing in timings]
    return {
        "seconds_per_trial": f"{statistics.median(wall):.1f}",
        "setup_ms": f"{statistics.median(setup):.0f} ms",
        "training_share": f"{100 * _busy(timings) / sum(wall):.1f} %",
    }


def run_facts(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the runs of a study left in its facts; see ``search/runner.py``.

    Returns:
        A line for each of the ``runs``; ``busy_share`` over all of them; ``sampler`` and
        ``workers`` of the last one.
    """
    timings = [run["timing"] for run in runs if run.get("timing", {}).get("worker_wall_s")]
    whole = sum(timing["worker_wall_s"] for timing in timings)
    last = runs[-1]
    return {
        "sampler": last.get("sampler"),
        "workers": last.get("workers"),
        "busy_share": f"{100 * _busy(timings) / whole:.1f} %" if whole else None,
        "runs": [_run(run) for run in runs],
    }


def recipes(results: StudyResults) -> dict[str, str]:
    """The recipe: what all trials share, what is searched, what baselines take instead."""
    rows = [row for row in results.trials if row.recipe]
    content = results.content.get("recipe", {})
    domains = {name: value for name, value in content.items() if isinstance(value, Mapping)}
    searched = list(domains) or varying(rows)
    found = {}
    if rows:
        shared = {name: v for name, v in rows[0].recipe.items() if name not in searched}
        found["recipe"] = words(shared)
    if domains:
        found["recipe_searched"] = ", ".join(
            f"{spaced(name)} {_domain(value)}" for name, value in domains.items()
        )
        found["baseline_recipe"] = "; ".join(
            f"{title(row)}: {recipe_words(row.recipe, searched)}"
            for row in results.baselines
            if row.recipe
        )
    return {name: value for name, value in found.items() if value}


def _busy(timings: Sequence[Mapping[str, float]]) -> float:
    """Seconds of training and evaluation."""
    return sum(timing.get("train_s", 0.0) + timing.get("evaluate_s", 0.0) for timing in timings)


def _run(run: Mapping[str, Any]) -> str:
    ended = str(run.get("ended", ""))[:16].replace("T", " ")
    parts = [f"{run.get('trained', 0)} trained", f"{run.get('failed', 0)} failed"]
    if run.get("workers"):
        parts.append(f"{run['workers']} worker{'s' * (run['workers'] != 1)}")
    if run.get("wall_s"):
        parts.append(f"{run['wall_s']:.0f} s")
    parts.append(str(run.get("stopped", "")))
    return f"to {ended}: {', '.join(part for part in parts if part)}"


def _domain(value: Mapping[str, Any]) -> str:
    """The JSON form of a domain in words: ``0.001 to 0.01, log``."""
    kind, content = next(iter(value.items()))
    if kind in ("integer", "real"):
        scale = ", log" if content.get("log") else ""
        return f"{content['low']} to {content['high']}{scale}"
    if kind == "choice":
        return " or ".join(words(option) for option in content)
    return words(value)
