"""Rank correlations of rungs with the top, and the rung at which new trials start."""

from __future__ import annotations

import math
import random

import pytest
from scipy.stats import spearmanr

from peftnas.search.halving import Ladder, Promotion
from peftnas.search.rung_correlation import correlations, first_rung


def results(strays: float, n: int = 30) -> list[dict[int, tuple[float, float]]]:
    """Three rungs; the lowest says the less the more it strays, the last column is exact."""
    draw = random.Random(0)
    top = {trial: (draw.random(), float(trial % 7)) for trial in range(n)}
    low = {t: (value + strays * draw.gauss(0, 1), size) for t, (value, size) in top.items()}
    middle = {t: (value + 0.1 * draw.gauss(0, 1), size) for t, (value, size) in top.items()}
    return [low | {n + 1: (0.5, 1.0)}, middle, top]


def test_it_is_spearmans_of_the_trials_with_both() -> None:
    found = results(0.3)
    low, middle, top = correlations(found)
    trials = sorted(found[2])
    expected = spearmanr([found[0][t][0] for t in trials], [found[2][t][0] for t in trials])
    assert low[0] == pytest.approx(expected.statistic)
    assert low[1] == middle[1] == 1.0 and top == (1.0, 1.0)
    assert low[0] < middle[0] < 1


def test_without_pairs_nothing_is_known() -> None:
    assert correlations([{0: (0.1, 2.0)}, {}]) == [(), ()]
    assert first_rung([{0: (0.1, 2.0)}, {}, {}]) == 0
    one, top = correlations([{0: (0.1, 2.0)}, {0: (0.1, 2.0)}])
    assert all(map(math.isnan, (*one, *top)))
    level = correlations([{0: (1.0,), 1: (1.0,)}, {0: (0.5,), 1: (0.7,)}])
    assert math.isnan(level[0][0])


def test_the_first_rung_moves_up_where_it_says_too_little() -> None:
    assert first_rung(results(0.1)) == 0
    assert first_rung(results(50.0)) == 1
    assert first_rung(results(50.0, n=8)) == 0, "too few pairs to judge"
    low, _, top = results(50.0)
    assert first_rung([low, low, top]) == 1, "the rung below the top is kept"
    assert first_rung([low, top]) == 0


def test_a_trial_that_starts_higher_takes_no_place_below() -> None:
    ladder = Ladder(3, 2)
    for trial in range(2):
        ladder.record(trial, 0, (float(trial),))
    for trial in (2, 3):
        ladder.start(trial, 1)
        ladder.record(trial, 1, (float(trial),))
    assert ladder.promote() == Promotion(2, 2)
    assert ladder.promote() == Promotion(0, 1)
