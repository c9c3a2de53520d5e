"""Hypervolume and learning curves."""

from __future__ import annotations

import math
from typing import Any

import pytest

from peftnas.search.report import curves_figure, hypervolume_figure
from peftnas.search.report.figures.hypervolume import UNTUNED, hypervolume_words
from peftnas.search.results import StudyResults


def _trace(figure: Any, name: str) -> Any:
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


def test_hypervolume_never_falls_and_is_the_studys(searched: StudyResults) -> None:
    trace = _trace(hypervolume_figure(searched), "trials")
    assert list(trace.x) == [1, 2, 3, 4, 5]
    assert list(trace.y) == searched.hypervolume()
    assert list(trace.y) == sorted(trace.y)


def test_baselines_are_a_level(row: Any, study: Any) -> None:
    # alone, a baseline dominates the rectangle between itself and the reference point
    # (a bare head would dominate the whole axis of counts)
    untuned = (row(0, 0.7, 0, baseline="head only"), row(1, 0.8, 999, baseline="LoRA r=8"))
    results = study([row(0, 0.5, 0)], baselines=untuned)
    level = _trace(hypervolume_figure(results), UNTUNED).y[0]
    assert level == pytest.approx(0.8 * (1 - math.log1p(999) / math.log1p(1_000_000)))


def test_axis_shows_the_end_and_the_baselines(searched: StudyResults) -> None:
    figure = hypervolume_figure(searched)
    low, high = figure.layout.yaxis.range
    assert low < searched.hypervolume()[-1] < high
    assert low < _trace(figure, UNTUNED).y[0] < high


def test_reference_point_in_words(searched: StudyResults) -> None:
    words = hypervolume_words(searched)
    assert "reference point (accuracy 0 and 1,000,000 trainable parameters" in words


@pytest.mark.parametrize("figure", [hypervolume_figure, curves_figure])
def test_empty_states(figure: Any, row: Any, study: Any) -> None:
    nothing = figure(study([], baselines=()))
    assert nothing.layout.annotations[0].text == "No trial has finished yet."
    failed = figure(study([row(0)], baselines=()))
    assert "1 failed" in failed.layout.annotations[0].text


def test_one_trial_and_one_objective(row: Any, study: Any) -> None:
    results = study([row(0, 0.8, 10)], objectives=("accuracy",), baselines=())
    assert list(_trace(hypervolume_figure(results), "trials").y) == pytest.approx([0.8])


def test_front_curves_are_bold_and_others_thin(searched: StudyResults) -> None:
    figure = curves_figure(searched)
    front = [trace for trace in figure.data if trace.name in ("trial 0", "trial 2", "trial 4")]
    thin = _trace(figure, "dominated")
    assert len(front) == 3
    assert all(trace.line.width > thin.line.width for trace in front)
    assert thin.opacity < 1
    assert len({trace.line.color for trace in front}) == 3
    assert list(thin.x) == [50, 100, None, 50, 100, None]
    assert list(thin.y) == [0.345, 0.69, None, 0.40, 0.80, None]


def test_curves_of_baselines_and_of_diverged_trials(row: Any, study: Any) -> None:
    curve = [{"step": 50, "accuracy": 0.4}, {"step": 100, "accuracy": math.nan}]
    figure = curves_figure(study([row(0, 0.8, 10), row(1, curve=curve)]))
    assert list(_trace(figure, "failed").x) == [50, None]
    assert sum(x is None for x in _trace(figure, "untuned baseline").x) == 4


def test_two_hundred_trials_take_few_traces(row: Any, study: Any) -> None:
    figure = curves_figure(study([row(i, 0.8 - i / 1000, i) for i in range(200)]))
    assert len(figure.data) == 3  # the front is one trial


def test_curves_fall_back_to_the_loss(row: Any, study: Any) -> None:
    results = study([row(0, 0.8, 10)], objectives=("trainable_parameters",))
    assert curves_figure(results).layout.yaxis.title.text == "loss on validation"
