"""What a Tune trial reports at a rung: one flat dictionary."""

from __future__ import annotations

from typing import Any

from peftnas.search.evaluator import Evaluator
from peftnas.search.objectives import COSTS, costs, objective
from peftnas.search.plans import Plan
from peftnas.search.scores import Score, reason_of


def tune_row(
    evaluator: Evaluator, plan: Plan, score: Score, refused: str | None = None
) -> dict[str, Any]:
    """The result of ``Trainable.step``.

    - every metric of the task, every objective, and the costs ``trainable_parameters``,
      ``trainable_percent``, ``stored_bytes``, ``train_memory_bytes``, ``train_step_s`` (the other
      ones where the study asks for them); the worst values where the training failed or was
      refused, since schedulers and searchers learn nothing from a row that lacks their metric;
    - ``step``: optimiser steps so far; ``done``: whether no more will come;
    - ``status``: "paused" at a rung, "complete", "failed" by its own fault, "refused" before
      training (over budget, cannot be trained);
    - ``violation``: 0 where all constraints are met, else above it; ``reason``: why it failed, was
      refused or violates a constraint, in words;
    - ``words``: the architecture.

    Args:
        evaluator: of the study.
        plan: of the trial.
        score: what it reached.
        refused: why it was not trained; ``None``: it was.
    """
    result = score.result
    if score.failed:
        values = _worst(evaluator)
    else:
        parameters = evaluator.bound.anatomy.backbone_parameters
        exact = costs(result.trainable_parameters, result.stored_bytes, parameters)
        values = result.metrics | result.measured | exact
    reasons = [reason_of(result)] if score.failed else score.over
    return values | {
        "step": result.step,
        "done": result.status != "paused",
        "status": "refused" if refused else result.status,
        "violation": sum(max(0.0, value) for value in score.constraints.values()),
        "reason": refused or "; ".join(reasons),
        "words": plan.words,
    }


def _worst(evaluator: Evaluator) -> dict[str, float]:
    """The worst value of everything that a training measures."""
    task, parameters = evaluator.study.task, evaluator.bound.anatomy.backbone_parameters
    asked = {*evaluator.scorer.measure, *evaluator.study.objectives}
    names = [name for name in COSTS if not name.endswith("_overhead") or name in asked]
    directions = getattr(task, "directions", None)
    return {
        name: objective(name, task.metrics, parameters, directions).worst
        for name in (*task.metrics, *names)
    }
