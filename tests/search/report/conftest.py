"""Small studies as the storage would give them, built by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peftnas.search.objectives import objective
from peftnas.search.results import StudyResults, TrialRow

N = 1_000_000  # parameters of the backbone

Row = Callable[..., TrialRow]
Study = Callable[..., StudyResults]


@pytest.fixture
def row() -> Row:
    """``row(3, 0.8, 1000)``: trial 3, finished, with accuracy and parameters."""

    def build(
        number: int, accuracy: float | None = None, parameters: int = 0, **other: Any
    ) -> TrialRow:
        state = "failed" if accuracy is None else "complete"
        costs = {"trainable_percent": 100 * parameters / N, "stored_bytes": 4.0 * parameters}
        values = {"accuracy": accuracy, "trainable_parameters": float(parameters)} | costs
        curve = [] if accuracy is None else [(50, accuracy / 2), (100, accuracy)]
        fields: dict[str, Any] = {
            "number": number,
            "state": state,
            "values": values if state == "complete" else {},
            "words": f"LoRA rank {number} on query",
            "architecture": {},
            "recipe": {"steps": 100, "learning_rate": 1e-3},
            "params": {},
            "metrics": {},
            "curve": [{"step": step, "loss": 1.0, "accuracy": value} for step, value in curve],
            "losses": [],
            "timing": {"setup_s": 0.05, "train_s": 8.0, "evaluate_s": 1.0, "wall_s": 10.0},
            "trainable_parameters": parameters,
            "stored_bytes": 4 * parameters,
            "head_parameters": 10,
            "reason": "" if state == "complete" else "diverged: the loss became NaN",
            "error": "",
            "seed": 1,
            "train_key": str(number),
            "machine_losses": 0,
            "baseline": None,
            "started": "2026-01-02T03:04:05",
            "finished": "2026-01-02T03:14:05",
        }
        return TrialRow(**fields | other)

    return build


@pytest.fixture
def study(row: Row) -> Study:
    """``study(rows, ...)``: with four baselines and two objectives unless told otherwise."""
    untuned = (
        row(0, 0.70, 0, baseline="head only"),
        row(1, 0.80, 4096, baseline="LoRA r=8"),
        row(2, 0.75, 2000, baseline="BitFit"),
        row(3, 0.90, N, baseline="full fine-tuning"),
    )

    def build(
        trials: tuple[TrialRow, ...] | list[TrialRow],
        *,
        baselines: tuple[TrialRow, ...] = untuned,
        objectives: tuple[str, ...] = ("accuracy", "trainable_parameters"),
        **facts: Any,
    ) -> StudyResults:
        return StudyResults(
            name="tiny",
            objectives=tuple(objective(name, ("accuracy",), N) for name in objectives),
            content={"seed": 5, "backbone": {"sha256": "ab", "parameters": N}},
            facts={"task": "words", "backbone": {"name": "toy"}} | facts,
            trials=tuple(trials),
            baselines=baselines,
        )

    return build


@pytest.fixture
def searched(row: Row, study: Study) -> StudyResults:
    """Three points on the front (0, 2, 4), two dominated (1, 3), one failed (5), one refused."""
    return study(
        [
            row(0, 0.71, 0),
            row(1, 0.69, 500),
            row(2, 0.80, 1000, recipe={"steps": 100, "learning_rate": 2e-3}),
            row(3, 0.80, 3000),
            row(4, 0.85, 20000),
            row(5),
            row(6, state="refused", words="", recipe={}, timing={}, reason="over budget"),
        ]
    )
