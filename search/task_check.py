"""What a task says of itself, and whether it can score: checked before a worker starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from peftnas.search.errors import UsageError
from peftnas.search.task_protocol import Task
from peftnas.spaces.nearest import did_you_mean

_WAYS = ("maximize", "minimize")


def check_task(task: Task) -> None:
    """Check names and directions of metrics.

    Raises:
        UsageError: if one of them cannot be used.
    """
    metrics: Any = task.metrics
    named = isinstance(metrics, Sequence) and not isinstance(metrics, str) and len(metrics) > 0
    if not named or not all(isinstance(name, str) for name in metrics):
        raise UsageError(
            f"metrics of a task must be a tuple of names, at least one, got {metrics!r}; write "
            "such as ('accuracy',)"
        )
    directions: Any = getattr(task, "directions", None)
    if directions is None:
        return
    if not isinstance(directions, Mapping):
        raise UsageError(
            f"directions of a task must be a dict from metric to direction, got {directions!r}; "
            f"write such as {{{metrics[0]!r}: 'minimize'}}"
        )
    for name, way in directions.items():
        if name not in metrics:
            raise UsageError(
                f"directions of a task must name metrics of the task, got {name!r}; "
                f"{did_you_mean(name, metrics)}"
            )
        if way not in _WAYS:
            raise UsageError(
                f"directions of a task must be 'maximize' or 'minimize', got {way!r} for "
                f"{name!r}; {did_you_mean(way, _WAYS)}"
            )


def check_score(task: Task, predictions: Any, labels: Any) -> None:
    """Score predictions that are right, once.

    All of validation is scored, since a metric may need several classes.

    Args:
        task: whose ``score`` is called.
        predictions: as the task's form gives them.
        labels: of the same examples.
    Raises:
        UsageError: if it fails, or gives anything but a finite number for each metric.
    """
    try:
        given: Any = task.score(predictions, labels)
    except Exception as error:  # it is the user's own code
        said = " ".join(str(error).split())
        raise UsageError(
            f"task {task.name!r} must score right answers, got {type(error).__name__}: {said}; "
            "correct its method score"
        ) from error
    if not isinstance(given, Mapping):
        raise UsageError(
            f"score of task {task.name!r} must give a dict from metric to number, got {given!r}; "
            f"write such as {{{task.metrics[0]!r}: 0.5}}"
        )
    if any(name not in given for name in task.metrics):
        raise UsageError(
            f"score of task {task.name!r} must give every metric of the task "
            f"({', '.join(task.metrics)}), got {', '.join(map(str, given)) or 'none'}; name them "
            "alike in metrics and in score"
        )
    for name in task.metrics:
        if not _is_finite(given[name]):
            raise UsageError(
                f"score of task {task.name!r} must give finite numbers, got {given[name]!r} for "
                f"{name!r}; give its worst value where it is not defined"
            )


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False
