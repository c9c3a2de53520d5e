"""Objectives by name, their bounds, and constraints in words."""

from __future__ import annotations

import pytest

from peftnas.search.constraints import parse_constraint
from peftnas.search.errors import UsageError
from peftnas.search.objectives import costs, known_objective, objective


def test_metrics_are_maximised_and_costs_minimised() -> None:
    accuracy = objective("accuracy", ["accuracy"], 1000)
    assert (accuracy.direction, accuracy.worst, accuracy.best) == ("maximize", 0.0, 1.0)
    assert objective("matthews", ["matthews"], 1000).worst == -1.0
    assert objective("rmse", ["rmse"], 1000, {"rmse": "minimize"}).direction == "minimize"
    for name, worst in [
        ("trainable_parameters", 1000.0),
        ("trainable_percent", 100.0),
        ("stored_bytes", 4000.0),
    ]:
        cost = objective(name, ["accuracy"], 1000)
        assert (cost.direction, cost.worst, cost.source) == (
            "minimize",
            worst,
            "exact before training",
        )
        assert known_objective(name, cost.direction, 1000) == cost


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(UsageError, match=r"one of accuracy, trainable_parameters, .*got 'speed'"):
        objective("speed", ["accuracy"], 1000)


def test_unit_cost_runs_from_best_to_worst() -> None:
    accuracy = objective("accuracy", ["accuracy"], 1000)
    assert [accuracy.unit_cost(x) for x in (1.0, 0.75, 0.0)] == [0.0, 0.25, 1.0]
    count = objective("trainable_parameters", [], 999)
    assert count.unit_cost(0) == 0.0
    assert count.unit_cost(9) == pytest.approx(1 / 3)
    assert count.unit_cost(999) == 1.0


def test_costs() -> None:
    assert costs(10, 40, 1000) == {
        "trainable_parameters": 10,
        "trainable_percent": 1.0,
        "stored_bytes": 40,
    }


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        ("trainable_parameters <= 50_000", "trainable_parameters", 50_000),
        ("trainable_parameters<=1.5M", "trainable_parameters", 1_500_000),
        ("stored_bytes <= 1MB", "stored_bytes", 1_000_000),
        ("stored_bytes <= 2 KiB", "stored_bytes", 2048),
        ("trainable_percent <= 0.5%", "trainable_percent", 0.5),
    ],
)
def test_constraints_in_words(text: str, name: str, bound: float) -> None:
    constraint = parse_constraint(text)
    assert (constraint.name, constraint.bound) == (name, bound)
    assert constraint.broken({name: bound}) is None
    assert text in str(constraint.broken({name: bound * 1.01}))


def test_a_lower_bound() -> None:
    constraint = parse_constraint("trainable_parameters >= 10")
    assert constraint.broken({"trainable_parameters": 10}) is None
    assert constraint.broken({"trainable_parameters": 9}) is not None


@pytest.mark.parametrize(
    "text",
    ["accuracy >= 0.9", "trainable_parameters < 5", "stored_bytes <= 5 parsecs", "1 <= 2", ""],
)
def test_other_constraints_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="constraint"):
        parse_constraint(text)


def test_a_value_beyond_an_end_counts_as_that_end() -> None:
    loss = objective("loss", ["loss"], 100, {"loss": "minimize"})
    assert [loss.unit_cost(value) for value in (-5.0, 0.0, 1e6, 1e9)] == [0.0, 0.0, 1.0, 1.0]
    score = objective("accuracy", ["accuracy"], 100)
    assert [score.unit_cost(value) for value in (-1.0, 0.0, 1.0, 2.0)] == [1.0, 1.0, 0.0, 0.0]
