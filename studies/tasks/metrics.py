"""Metrics of tasks: scikit-learn's, SciPy's, and those of ``sequence_metrics.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from peftnas.spaces.nearest import did_you_mean
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metric import Array, Kind, Metric
from peftnas.studies.tasks.sequence_metrics import SEQUENCE_METRICS

__all__ = ["METRICS", "Kind", "Metric", "check_metrics", "metric_named", "score"]


def _accuracy(predictions: Array, labels: Array) -> float:
    return float(np.mean(predictions == labels))


def _macro_f1(predictions: Array, labels: Array) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def _f1(predictions: Array, labels: Array) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="binary", pos_label=1, zero_division=0))


def _matthews(predictions: Array, labels: Array) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predictions))


def _pearson(predictions: Array, labels: Array) -> float:
    from scipy.stats import pearsonr

    return 0.0 if _constant(predictions, labels) else float(pearsonr(predictions, labels)[0])


def _spearman(predictions: Array, labels: Array) -> float:
    from scipy.stats import spearmanr

    return 0.0 if _constant(predictions, labels) else float(spearmanr(predictions, labels)[0])


def _constant(*arrays: Array) -> bool:
    """Whether one side does not vary, where a correlation is undefined and counts as none."""
    return any(len(array) < 2 or bool(np.all(array == array[0])) for array in arrays)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "maximize", 0.0, "classes", _accuracy),
        Metric("macro_f1", "maximize", 0.0, "classes", _macro_f1),
        Metric("f1", "maximize", 0.0, "classes", _f1),
        Metric("matthews", "maximize", -1.0, "classes", _matthews),
        Metric("pearson", "maximize", -1.0, "numbers", _pearson),
        Metric("spearman", "maximize", -1.0, "numbers", _spearman),
        *SEQUENCE_METRICS,
    )
}


def metric_named(name: str) -> Metric:
    """The metric called ``name``.

    Raises:
        ValueError: if there is none; the message lists the known ones.
    """
    if name not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {name!r}; pick one")
    return METRICS[name]


def check_metrics(names: str | Sequence[str], of: Kind) -> tuple[str, ...]:
    """The metric names of a task as a tuple, each known and made for its kind of labels.

    Raises:
        ValueError: if a name is unknown, made for other labels, given twice, or none is given.
    """
    fitting = [metric.name for metric in METRICS.values() if metric.of == of]
    known = ", ".join(fitting)
    if not isinstance(names, str | Sequence) or not all(isinstance(one, str) for one in names):
        raise DataError(f"metrics must be names of metrics, got {names!r}; pick from {known}")
    chosen = (names,) if isinstance(names, str) else tuple(names)
    if not chosen or len(set(chosen)) != len(chosen):
        raise DataError(
            f"metrics must be distinct names, at least one, got {chosen!r}; name each once"
        )
    for name in chosen:
        if name not in METRICS:
            raise DataError(
                f"metric must be one of {known} for this task, got {name!r}; "
                f"{did_you_mean(name, fitting)}"
            )
        if metric_named(name).of != of:
            raise DataError(
                f"a task needs metrics that fit it, got {name!r}, which does not compare {of}; "
                f"pick one of {known}"
            )
    return chosen


def score(names: Sequence[str], predictions: Any, labels: Any) -> dict[str, float]:
    """The values of the named metrics.

    Args:
        names: metric names.
        predictions: of the kind that the metrics compare, such as class ids (n,).
        labels: of the same kind.
    """
    return {name: METRICS[name](predictions, labels) for name in names}
