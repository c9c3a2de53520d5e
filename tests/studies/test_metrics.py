"""Metrics against closed forms; what is undefined has a stated value."""

from __future__ import annotations

import numpy as np
import pytest

from peftnas.search.objectives import objective
from peftnas.studies.tasks import METRICS, TextClassification, TextRegression

LABELS = np.array([0, 0, 0, 1, 1, 2])
GUESSES = np.array([0, 0, 1, 1, 0, 2])


def test_accuracy_and_macro_f1() -> None:
    assert METRICS["accuracy"](GUESSES, LABELS) == pytest.approx(4 / 6)
    # classes 0: 2 of 3 and 2 of 3; 1: 1 of 2 and 1 of 2; 2: all
    assert METRICS["macro_f1"](GUESSES, LABELS) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_f1_and_matthews_of_two_classes() -> None:
    labels, guesses = np.array([1, 1, 1, 0, 0, 0, 0]), np.array([1, 1, 0, 1, 0, 0, 0])
    assert METRICS["f1"](guesses, labels) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    matthews = (2 * 3 - 1 * 1) / np.sqrt(3 * 3 * 4 * 4)
    assert METRICS["matthews"](guesses, labels) == pytest.approx(matthews)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_correlations(name: str) -> None:
    x = np.linspace(0, 1, 9, dtype=np.float32)
    assert METRICS[name](2 * x + 1, x) == pytest.approx(1)
    assert METRICS[name](-x, x) == pytest.approx(-1)
    assert METRICS[name](np.ones(9, dtype=np.float32), x) == 0.0


def test_one_class_guessed_is_no_warning() -> None:
    guesses = np.zeros(6, dtype=np.int64)
    for name in ("accuracy", "macro_f1", "matthews"):
        assert np.isfinite(METRICS[name](guesses, LABELS))


def test_scores_of_tasks() -> None:
    logits = np.eye(3, dtype=np.float32)[GUESSES]
    score = TextClassification("a.tsv").score(logits, LABELS)
    assert score == pytest.approx({"accuracy": 4 / 6, "macro_f1": (2 / 3 + 1 / 2 + 1) / 3})
    targets = np.array([0.0, 1.0, 2.0], dtype=np.float32)
    assert TextRegression("a.tsv").score(targets[:, None], targets)["spearman"] == pytest.approx(1)


def test_predictions_that_are_not_finite_score_worst() -> None:
    logits = np.full((6, 3), np.nan, dtype=np.float32)
    task = TextClassification("a.tsv", metrics=("matthews", "accuracy"))
    assert task.score(logits, LABELS) == {"matthews": -1.0, "accuracy": 0.0}


def test_the_search_knows_direction_and_worst_value_of_every_metric() -> None:
    for metric in METRICS.values():
        known = objective(metric.name, [metric.name], 1000, {metric.name: metric.direction})
        assert (known.direction, known.worst) == (metric.direction, metric.worst)
