"""Bins whose edges read well, bars that say what they mean."""

from __future__ import annotations

import itertools

import pytest

from peftnas.spaces.sizes.size import Size
from peftnas.studies.space_bins import bars, bin_edges, share, short


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 1), (7, 7), (6, 12), (100, 300), (384, 454_264), (1, 10**9), (640, 10**30), (995, 1_005)],
)
def test_edges_rise_from_the_lowest(low: int, high: int) -> None:
    edges = bin_edges(low, high)
    assert edges[0] == low and edges[-1] <= high and len(edges) <= 14
    assert all(one < other for one, other in itertools.pairwise(edges))


def test_edges_are_of_about_one_ratio() -> None:
    assert bin_edges(384, 30_000) == [384, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000] + [
        10_000,
        15_000,
        20_000,
        30_000,
    ]
    assert bin_edges(384, 454_264)[1:4] == [500, 1000, 2000]


def test_bars_of_one_size_have_their_own_length() -> None:
    drawn, said = bars([30, 0, 15])
    assert drawn == ["█" * 30, "", "█" * 15] and said == "each █ is 1"
    assert bars([31, 0, 15]) == (["█" * 15 + "▌", "", "█" * 7 + "▌"], "each █ is 2")


def test_bars_of_many_sizes_have_that_of_their_logarithm() -> None:
    drawn, said = bars([1, 0, 10, 10**13])
    assert drawn == ["██", "", "████", "█" * 28] and said.endswith("by ██ for ten times as many")
    drawn, said = bars([1, 10**275])
    assert len(drawn[1]) == 28 and drawn[0] and said.endswith("by █ for 10^10 times as many")
    assert bars([1, 10**31])[1].endswith("by █ for 100 times as many")


def test_bars_of_nothing() -> None:
    assert bars([]) == ([], "") and bars([0, 0]) == (["", ""], "")


def test_long_numbers_are_shown_by_their_first_digits() -> None:
    assert short(28_074_648_612_420) == "28,074,648,612,420"
    assert short(2**288) == "4.97e86"


def test_shares() -> None:
    assert share(Size(1, 1), Size(3, 3)) == "33.3 %"
    assert share(Size(1, 1), Size(10**50, 10**50)) == "< 0.01 %"
    assert share(Size(0, 0), Size(7, 7)) == "0 %"
    assert share(Size(1, 2), Size(7, 7)) == "-"
