"""The run's facts: what was run, on what, how well the workers were used. Shown in the report.

``StudyResults.facts`` holds what the driver recorded. The names in ``LABELS`` get their words
and place from there; any other fact is shown too, under its own name.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from peftnas.search.report.run_facts import recipes, run_facts, trial_times
from peftnas.search.report.words import spaced, words
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
    "sampler": "sampler of the last run",
    "when": "trials from, to",
    "seconds_per_trial": "seconds a trial, median",
    "setup_ms": "set-up of a trial, median",
    "training_share": "training and evaluation, of the trials' time",
    "busy_share": "training and evaluation, of the workers' time",
    "workers": "workers of the last run",
    "machine": "machine",
    "data": "data",
    "recipe": "recipe, the same for all trials",
    "recipe_searched": "recipe, searched",
    "baseline_recipe": "recipe of the baselines where it is searched",
    "versions": "versions",
    "runs": "runs",
    "test_looks": "looks at the test split",
}
_WIDE = set(list(LABELS)[list(LABELS).index("data") :])


def facts_html(results: StudyResults) -> str:
    """All facts as a list of terms; unknown ones after those that have a label."""
    facts = all_facts(results)
    names = [name for name in LABELS if name in facts]
    names += [name for name in facts if name not in LABELS]
    items = "".join(_item(name, words(facts[name])) for name in names if facts[name] is not None)
    return f'<dl class="facts">{items}</dl>'


def all_facts(results: StudyResults) -> dict[str, Any]:
    """What the driver recorded, and what can be worked out from it and from the rows."""
    content = results.content
    recorded = {name: fact for name, fact in results.facts.items() if fact not in (None, [], {})}
    found: dict[str, Any] = {
        "backbone": content.get("backbone"),
        "constraints": content.get("constraints") or None,
        "seed": content.get("seed"),
        "when": when(results),
        "test_looks": "none",
    }
    found |= trial_times(results) | recipes(results) | recorded
    found["data"] = _data(recorded.get("data"))
    if runs := recorded.get("runs"):
        found |= run_facts(runs)
    return found


def backbone_parameters(results: StudyResults) -> int:
    """Parameters of the backbone without head; 0 when they are not known."""
    return int(results.content.get("backbone", {}).get("parameters", 0))


def name_of(fact: Any) -> str:
    """The name in a fact that is a name, or a mapping that holds one."""
    return words(fact["name"]) if isinstance(fact, Mapping) and "name" in fact else words(fact)


def when(results: StudyResults) -> str | None:
    """From the start of the first trial to the end of the last, to the minute."""
    starts = [row.started for row in results.trials if row.started]
    ends = [row.finished for row in results.trials if row.finished]
    if not starts:
        return None
    return f"{_minute(min(starts))} to {_minute(max(ends)) if ends else 'now'}"


def _data(fact: Any) -> Any:
    """The sizes of the splits, which tasks repeat under names of their own, only once."""
    if not isinstance(fact, Mapping) or "train" not in fact:
        return fact
    return {k: v for k, v in fact.items() if k not in ("train_rows", "validation_rows")}


def _minute(stamp: str) -> str:
    """``2026-03-01T10:20:30`` without its seconds."""
    return stamp.replace("T", " ")[:16]


def _item(name: str, value: str) -> str:
    kind = ' class="wide"' if name in _WIDE else ""
    label = html.escape(LABELS.get(name, spaced(name)))
    return f"<div{kind}><dt>{label}</dt><dd>{html.escape(value)}</dd></div>"
