"""Numbers in the tables of the command line."""

from __future__ import annotations

import pytest

from peftnas.search.objectives import objective
from peftnas.studies.cli import output


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("trainable_parameters", 1.0, "1"),
        ("trainable_parameters", 1234567.0, "1,234,567"),
        ("stored_bytes", 4, "4"),
        ("trainable_percent", 1.0, "1.0000"),
        ("accuracy", 1.0, "1.0000"),
        ("accuracy", 0.0, "0.0000"),
        ("accuracy", 0.51239, "0.5124"),
        ("accuracy", None, "-"),
    ],
)
def test_counts_are_whole_and_scores_are_not(name: str, value: float | None, shown: str) -> None:
    known = objective(name, ["accuracy"], 1000)
    assert output.number(value, whole=known.whole) == shown
