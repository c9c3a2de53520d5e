"""Runs every strategy for every seed, and says how soon ours reaches where the others end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from peftnas.search.halving import Halving
from peftnas.search.pareto import hypervolumes
from peftnas.studies.benchmarks.halving.simulate import Strategy, simulate
from peftnas.studies.benchmarks.halving.strategies import FullTrials, Halved, Moasha
from peftnas.studies.benchmarks.halving.table import Table

FULL_TRIALS = 80
OURS = "halving"
FACTOR = 5
"""One in five of the first fifth of a trial: what the tables of this benchmark speak for."""

Make = Callable[[Table, int], Strategy]
BASELINES: dict[str, Make] = {
    "tpe": lambda table, seed: FullTrials(table, "tpe", seed),
    "nsga2": lambda table, seed: FullTrials(table, "nsga2", seed),
    "random": lambda table, seed: FullTrials(table, "random", seed),
    "moasha": lambda table, seed: Moasha(table, seed),
}


def ours(sampler: str, factor: int = FACTOR) -> Make:
    """Our halving on a table of any number of steps."""

    def make(table: Table, seed: int) -> Strategy:
        halving = Halving(max(1, table.steps // factor), factor)
        return Halved(table, halving, sampler, seed)

    return make


def run(
    table: Table, shape: str, make: Make, seed: int, full_trials: int = FULL_TRIALS
) -> dict[str, Any]:
    """One simulated study; JSON values.

    Args:
        table: of learning curves.
        shape: one of its shapes.
        make: the strategy, from table and seed.
        seed: of the study.
        full_trials: the budget: the steps of so many trials.
    Returns:
        ``steps`` that each result at the top had cost and the ``hypervolume`` of all results so
        far, from the worst error and cost of the table; ``started`` steps and ``trials`` in all.
    """
    budget = full_trials * table.steps
    outcome = simulate(table, shape, make(table, seed), budget)
    # a result worse than the table's worst at the last step does not exist
    found = hypervolumes(outcome.points, np.ones(2))
    return {
        "steps": outcome.steps,
        "hypervolume": found,
        "started": outcome.started,
        "budget": budget,
        "trials": outcome.trials,
    }


def part_needed(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The part of the budget at which ``one`` holds what ``other`` ends with; inf: never."""
    goal = other["hypervolume"][-1]
    held = zip(one["steps"], one["hypervolume"], strict=True)
    return next((steps / one["budget"] for steps, volume in held if volume >= goal), math.inf)


def summary(
    runs: dict[str, dict[str, dict[str, dict[str, Any]]]], shapes: Sequence[str]
) -> dict[str, Any]:
    """By shape and baseline: parts of the budget and ratios of the ends, over the seeds.

    Args:
        runs: by strategy, shape and seed, as :func:`run` gives them.
        shapes: of the table.
    """
    found: dict[str, Any] = {}
    for shape in shapes:
        own = runs[OURS][shape]
        found[shape] = {"end": _quartiles([r["hypervolume"][-1] for r in own.values()])}
        for name in runs:
            if name == OURS:
                continue
            pairs = [
                (own[seed], other) for seed, other in runs[name][shape].items() if seed in own
            ]
            ratios = [one["hypervolume"][-1] / other["hypervolume"][-1] for one, other in pairs]
            found[shape][name] = {
                "end": _quartiles([other["hypervolume"][-1] for _, other in pairs]),
                "part_needed": _quartiles([part_needed(*pair) for pair in pairs]),
                "never": sum(math.isinf(part_needed(*pair)) for pair in pairs),
                "end_ratio": _quartiles(ratios),
                "end_ratio_worst": min(ratios),
                "seeds": len(pairs),
            }
    return found


def _quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median, upper quartile; each is one of the values."""
    return [float(v) for v in np.quantile(values, [0.25, 0.5, 0.75], method="closest_observation")]
