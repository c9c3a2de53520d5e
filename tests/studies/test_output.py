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


HEADS = ["trial", "span_f1", "trainable_parameters", "train memory", "train step", "architecture"]
ROW = ["0", "0.4470", "9,216", "151 MB", "6.42 s", "lora rank 1 on query, value"]


@pytest.mark.parametrize(("columns", "lines"), [(80, 2), (160, 1)])
def test_heads_of_numbers_break_before_the_words_of_a_row_do(
    columns: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    output.print_table("", HEADS, [ROW])
    above, _, below = capsys.readouterr().out.partition("─")
    assert "architecture" in above and len(above.strip("\n ").splitlines()) == lines
    assert ("trainable_parameters" in above) == (lines == 1)
    assert "lora rank 1 on query, value" in below
