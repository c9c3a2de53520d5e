"""The run's facts: what was run, on what, how well the workers were used. Shown in the report.

``StudyResults.facts`` holds what the driver recorded. The names in ``LABELS`` get their words
and place from there; any other fact is shown too, under its own name.
"""

from __future__ import annotations

import html
import re
import statistics
from collections.abc import Mapping
from typing import Any

from peftnas.search.report.figures.points import plain, varying
from peftnas.search.results import StudyResults

# name in StudyResults.facts or worked out here -> label, in the order of the page
LABELS = {
    "task": "task",
    "backbone": "backbone",
    "space_size": "distinct architectures in the space",
    "parameter_range": "trainable parameters in the space",
    "max_parameters": "budget of trainable parameters",
    "constraints": "constraints",
    "seed": "seed",
    "sampler": "sampler",
    "when": "trials from, to",
    "seconds_per_trial": "seconds a trial, median",
    "setup_ms": "set-up of a trial, median",
    "training_share": "training and evaluation, of the trials' time",
    "busy_share": "training and evaluation, of the workers' time",
    "workers": "workers",
    "machine": "machine",
    "data": "data",
    "recipe": "recipe, the same for all trials",
    "recipe_searched": "recipe, searched",
    "baseline_recipe": "recipe of the baselines where it is searched",
    "versions": "versions",
    "test_looks": "looks at the test split",
}
_WIDE = {"recipe", "recipe_searched", "baseline_recipe", "test_looks", "versions", "data"}
_LONGEST = 12  # items of a list that are shown
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")


def facts_html(results: StudyResults) -> str:
    """All facts as a list of terms; unknown ones after those that have a label."""
    facts = all_facts(results)
    names = [name for name in LABELS if name in facts]
    names += [name for name in facts if name not in LABELS]
    items = "".join(_item(name, words(facts[name])) for name in names if facts[name] is not None)
    return f'<dl class="facts">{items}</dl>'


def all_facts(results: StudyResults) -> dict[str, Any]:
    """What can be worked out from the rows, under what the driver recorded."""
    content = results.content
    facts: dict[str, Any] = {
        "backbone": content.get("backbone"),
        "constraints": content.get("constraints") or None,
        "seed": content.get("seed"),
        "when": when(results),
        "recipe": _recipe(results),
        "test_looks": "none",
    }
    recorded = {name: fact for name, fact in results.facts.items() if fact not in (None, [], {})}
    return facts | _times(results) | recorded


def backbone_parameters(results: StudyResults) -> int:
    """Parameters of the backbone without head; 0 when they are not known."""
    return int(results.content.get("backbone", {}).get("parameters", 0))


def name_of(fact: Any) -> str:
    """The name in a fact that is a name, or a mapping that holds one."""
    return words(fact["name"]) if isinstance(fact, Mapping) and "name" in fact else words(fact)


def words(value: Any) -> str:
    """A JSON value for people; long hex digests are cut."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        named = [words(value["name"])] if "name" in value else []
        rest = [f"{spaced(str(k))} {words(v)}" for k, v in value.items() if k != "name"]
        return ", ".join(named + rest)
    if isinstance(value, list | tuple):
        shown = [words(item) for item in value[:_LONGEST]]
        rest = [f"{len(value) - _LONGEST} more"] if len(value) > _LONGEST else []
        return "; ".join(shown + rest)
    return "–" if value is None else _DIGEST.sub(r"\1…", plain(value))


def spaced(name: str) -> str:
    """A name in code as words."""
    return name.replace("_", " ")


def _times(results: StudyResults) -> dict[str, str]:
    """How long trials took and what part of it was training, from the trials' own clocks."""
    timings = [row.timing for row in results.trials if row.timing.get("wall_s")]
    if not timings:
        return {}
    wall = [timing["wall_s"] for timing in timings]
    setup = [1000 * timing.get("setup_s", 0.0) for timing in timings]
    busy = sum(timing.get("train_s", 0.0) + timing.get("evaluate_s", 0.0) for timing in timings)
    return {
        "seconds_per_trial": f"{statistics.median(wall):.1f}",
        "setup_ms": f"{statistics.median(setup):.0f} ms",
        "training_share": f"{100 * busy / sum(wall):.1f} %",
    }


def when(results: StudyResults) -> str | None:
    """From the start of the first trial to the end of the last, to the minute."""
    starts = [row.started for row in results.trials if row.started]
    ends = [row.finished for row in results.trials if row.finished]
    if not starts:
        return None
    return f"{_minute(min(starts))} to {_minute(max(ends)) if ends else 'now'}"


def _minute(stamp: str) -> str:
    """``2026-03-01T10:20:30`` without its seconds."""
    return stamp.replace("T", " ")[:16]


def _recipe(results: StudyResults) -> str | None:
    """The recipe's fields that are the same in all trials."""
    recipes = [row.recipe for row in results.trials if row.recipe]
    if not recipes:
        return None
    different = varying(results.trials)
    kept = {name: value for name, value in recipes[0].items() if name not in different}
    return words(kept)


def _item(name: str, value: str) -> str:
    kind = ' class="wide"' if name in _WIDE else ""
    label = html.escape(LABELS.get(name, spaced(name)))
    return f"<div{kind}><dt>{label}</dt><dd>{html.escape(value)}</dd></div>"
