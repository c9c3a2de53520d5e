"""The figure of the front: who is on it, its line, the baselines, and its empty states."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftnas.search.objectives import objective
from peftnas.search.report import DARK, front_figure
from peftnas.search.report.figures.front import staircase
from peftnas.search.report.figures.labels import positions
from peftnas.search.report.figures.symlog import Symlog
from peftnas.search.results import StudyResults


def _trace(figure: go.Figure, name: str) -> Any:
    (trace,) = (trace for trace in figure.data if trace.name == name)
    return trace


def _names(figure: go.Figure) -> list[str]:
    return [trace.name for trace in figure.data]


def test_dominated_points_are_dim_and_apart(searched: StudyResults) -> None:
    figure = front_figure(searched)
    front, dim = _trace(figure, "on the front"), _trace(figure, "dominated")
    assert sorted(front.customdata) == ["trial-0", "trial-2", "trial-4"]
    assert sorted(dim.customdata) == ["trial-1", "trial-3"]
    assert dim.marker.opacity < 1
    assert front.marker.opacity is None
    assert dim.marker.color != front.marker.color


def test_line_is_a_staircase_through_the_front(searched: StudyResults) -> None:
    line = _trace(front_figure(searched), "front line")
    scale = Symlog()
    assert line.line.shape == "hv"
    assert list(line.x) == [scale(0), scale(1000), scale(20000)]
    assert list(line.y) == [0.71, 0.80, 0.85]


def test_parameters_take_the_symlog_axis(searched: StudyResults) -> None:
    axis = front_figure(searched).layout.xaxis
    assert axis.ticktext[:4] == ("0", "100", "1k", "10k")
    assert axis.tickvals[0] == 0
    assert axis.range[0] < 0 < Symlog()(1_000_000) < axis.range[1]
    assert axis.title.text == "trainable parameters"


def test_baselines_are_named_and_have_shapes_of_their_own(searched: StudyResults) -> None:
    figure = front_figure(searched)
    trace = _trace(figure, "untuned baseline")
    assert len(set(trace.marker.symbol)) == 4
    assert [note.text for note in figure.layout.annotations] == [
        "head only",
        "LoRA r=8",
        "BitFit",
        "full fine-tuning",
    ]
    assert all("(untuned)" in text for text in trace.hovertext)
    assert max(trace.x) > max(_trace(figure, "on the front").x)


def test_hover_says_architecture_values_and_recipe(searched: StudyResults) -> None:
    trace = _trace(front_figure(searched), "on the front")
    text = dict(zip(trace.customdata, trace.hovertext, strict=True))["trial-2"]
    assert "LoRA rank 2 on query" in text
    assert "accuracy: 0.8000" in text
    assert "trainable parameters: 1,000" in text
    assert "learning rate 0.002" in text
    assert "steps" not in text  # the same for all


def test_hover_escapes_markup(row: Any, study: Any) -> None:
    trial = row(0, 0.8, 10, words="<img src=x onerror=alert(1)>")
    trace = _trace(front_figure(study([trial])), "on the front")
    assert "<img" not in trace.hovertext[0]
    assert "&lt;img" in trace.hovertext[0]


def test_no_trial_yet(study: Any) -> None:
    figure = front_figure(study([], baselines=()))
    assert not figure.data
    assert figure.layout.annotations[0].text == "No trial has finished yet."


def test_all_failed(row: Any, study: Any) -> None:
    figure = front_figure(study([row(0), row(1)], baselines=()))
    assert not figure.data
    assert "2 failed" in figure.layout.annotations[0].text


def test_only_baselines(study: Any) -> None:
    figure = front_figure(study([]))
    assert len(_trace(figure, "untuned baseline").x) == 4
    assert "on the front" not in _names(figure)


def test_skipped_baseline_is_left_out(row: Any, study: Any) -> None:
    skipped = row(0, state="refused", baseline="BitFit", reason="does not apply")
    figure = front_figure(study([row(0, 0.8, 10)], baselines=(skipped,)))
    assert "untuned baseline" not in _names(figure)


def test_one_trial(row: Any, study: Any) -> None:
    figure = front_figure(study([row(0, 0.8, 0)], baselines=()))
    assert list(_trace(figure, "on the front").y) == [0.8]
    assert "dominated" not in _names(figure)


def test_one_objective_is_drawn_against_the_trial(row: Any, study: Any) -> None:
    rows = [row(0, 0.7), row(1, 0.6), row(2), row(3, 0.8)]
    figure = front_figure(study(rows, objectives=("accuracy",)))
    line = _trace(figure, "best so far")
    assert list(line.x) == [0, 1, 3]
    assert list(line.y) == [0.7, 0.7, 0.8]
    assert list(_trace(figure, "best").customdata) == ["trial-3"]
    levels = [note.text for note in figure.layout.annotations]
    assert levels[0] == "head only 0.7000 (untuned)"


def test_score_goes_up_in_whichever_order_objectives_are_named(searched: StudyResults) -> None:
    score, cost = searched.objectives
    turned = StudyResults("tiny", (cost, score), {}, {}, searched.trials, searched.baselines)
    assert front_figure(turned).layout.yaxis.title.text == "accuracy"


def test_three_objectives_mark_the_front_of_all(row: Any, study: Any) -> None:
    rows = [row(0, 0.8, 1000), row(1, 0.7, 2000)]
    rows[1].values["stored_bytes"] = 10.0  # beaten in the two drawn, not in the third
    names = ("accuracy", "trainable_parameters", "stored_bytes")
    figure = front_figure(study(rows, objectives=names, baselines=()))
    assert len(_trace(figure, "on the front").x) == 2
    assert len(_trace(figure, "front line").x) == 1


def test_percent_is_symlog_too(row: Any, study: Any) -> None:
    results = study(
        [row(0, 0.7, 0), row(1, 0.8, 500)], objectives=("accuracy", "trainable_percent")
    )
    assert front_figure(results).layout.xaxis.ticktext[0] == "0"
    assert "100" in front_figure(results).layout.xaxis.ticktext


def test_theme_changes_colours_only(searched: StudyResults) -> None:
    light, dark = front_figure(searched), front_figure(searched, DARK)
    assert light.layout.paper_bgcolor != dark.layout.paper_bgcolor
    assert list(_trace(light, "on the front").y) == list(_trace(dark, "on the front").y)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_staircase_rises_and_nothing_lies_above_it(points: list[tuple[int, int]]) -> None:
    class Point:
        def __init__(self, accuracy: float, parameters: float) -> None:
            self.values = {"accuracy": accuracy, "trainable_parameters": parameters}

    y, x = (objective(n, ("accuracy",), 9) for n in ("accuracy", "trainable_parameters"))
    rows: Any = [Point(a / 10, p) for a, p in points]
    steps = [(row.values[x.name], row.values[y.name]) for row in staircase(rows, y, x)]
    assert steps == sorted(steps)
    for cost, score in ((row.values[x.name], row.values[y.name]) for row in rows):
        assert max(s for c, s in steps if c <= cost) >= score


@pytest.mark.parametrize(
    ("others", "side"),
    [
        (([0.0, 1.0], [0.0, 1.0]), "middle right"),
        (([0.0, 1.0, 0.55], [0.0, 1.0, 0.5]), "middle left"),
    ],
)
def test_names_keep_clear_of_points(others: Any, side: str) -> None:
    assert positions(["a baseline"], ([0.5], [0.5]), others) == [side]


def test_names_stay_inside() -> None:
    sides = positions(["full fine-tuning", "head only"], ([1.0, 0.0], [1.0, 0.0]), ([0.5], [0.5]))
    assert sides[0].endswith("left")
    assert sides[1].endswith("right")
