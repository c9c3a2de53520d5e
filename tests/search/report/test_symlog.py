"""The axis that is logarithmic and has a place for 0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftnas.search.report.figures.symlog import Symlog, short

_counts = st.integers(min_value=0, max_value=10**12)


def test_ticks_begin_at_zero_and_name_powers_of_ten() -> None:
    places, labels = Symlog().ticks(22_713_216)
    assert labels == ["0", "100", "1k", "10k", "100k", "1M", "10M", "100M"]
    assert places[0] == 0
    assert places == sorted(places)


def test_decades_are_equally_wide_far_from_zero() -> None:
    scale = Symlog()
    assert scale(1e7) - scale(1e6) == pytest.approx(1.0, abs=1e-3)


@given(_counts, _counts)
def test_order_is_kept(a: int, b: int) -> None:
    scale = Symlog()
    assert (scale(a) < scale(b)) == (a < b) or abs(a - b) < 1e-9 * b


@given(st.lists(st.floats(min_value=1e-6, max_value=1e9), min_size=1))
def test_linear_part_ends_at_or_below_the_smallest_value(values: list[float]) -> None:
    scale = Symlog.of([0.0, *values])
    assert scale.linear <= min(values) * (1 + 1e-12) or scale.linear == pytest.approx(min(values))
    assert scale.linear <= 100


def test_linear_part_of_counts_is_a_hundred() -> None:
    assert Symlog.of([0, 384, 20_000]).linear == 100
    assert Symlog.of([]).linear == 100
    assert Symlog.of([0, 0]).linear == 100


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (850, "850"),
        (9216, "9.22k"),
        (999_900, "1M"),
        (10_600_000, "10.6M"),
        (0.01, "0.01"),
    ],
)
def test_short(value: float, words: str) -> None:
    assert short(value) == words
