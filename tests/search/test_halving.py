"""Promotion from points alone: quotas, order, late and repeated results, restarts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peftnas.search.errors import UsageError
from peftnas.search.halving import Halving, Ladder, Promotion

RUNGS = 3
points = st.tuples(
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan]), st.integers(0, 5).map(float)
)


def test_rungs_grow_by_the_factor_and_end_at_the_steps_of_the_recipe() -> None:
    assert Halving(1, 3).rungs(27) == (1, 3, 9, 27)
    assert Halving(20, 4).rungs(300) == (20, 80, 300)
    assert Halving(10, 2).rungs(11) == (10, 11)


def test_no_rung_lies_just_below_the_top() -> None:
    assert Halving(10, 3).rungs(100) == (10, 30, 100)
    assert Halving(10, 3).rungs(270) == (10, 30, 90, 270)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"min_steps": 0}, "min_steps"),
        ({"min_steps": 2.5}, "min_steps"),
        ({"min_steps": True}, "min_steps"),
        ({"min_steps": 10, "reduction_factor": 1}, "reduction_factor"),
        ({"min_steps": 10, "reduction_factor": 2.5}, "reduction_factor"),
    ],
)
def test_wrong_settings_are_refused(fields: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError, match=rf"{named} of Halving must be .*, got .*; take"):
        Halving(**fields)


def test_a_first_rung_at_the_top_is_refused() -> None:
    with pytest.raises(UsageError, match="min_steps of Halving must be below the 50 steps"):
        Halving(50).rungs(50)


def test_the_best_third_goes_on() -> None:
    ladder = Ladder(2, 3)
    for trial, error in enumerate([0.5, 0.1, 0.4]):
        assert ladder.promote() is None
        ladder.record(trial, 0, (error, 1.0))
    assert ladder.promote() == Promotion(1, 1)
    assert ladder.promote() is None


def test_the_highest_rung_is_asked_first() -> None:
    ladder = Ladder(3, 2)
    for trial in range(6):
        ladder.record(trial, 0, (float(trial),))
    for trial in (0, 1):
        ladder.record(trial, 1, (float(trial),))
    assert ladder.promote() == Promotion(0, 2)
    assert ladder.promote() == Promotion(2, 1)


def test_a_trial_of_a_better_front_goes_first() -> None:
    ladder = Ladder(2, 2)
    ladder.record(0, 0, (0.5, 5.0))
    ladder.record(1, 0, (0.4, 4.0))
    assert ladder.promote() == Promotion(1, 1)


def test_of_one_front_the_point_that_adds_most_to_the_promoted_goes_first() -> None:
    ladder = Ladder(2, 2)
    for trial, point in enumerate([(0.1, 9.0), (0.2, 8.0), (0.3, 7.0), (0.9, 1.0)]):
        ladder.record(trial, 0, point)
    assert ladder.promote() == Promotion(2, 1)
    assert ladder.promote() == Promotion(3, 1)


def test_a_forecast_decides_instead_of_what_the_rung_shows() -> None:
    """A slow starter that is sure to end best goes first; doubt is worth a look."""
    ladder = Ladder(2, 2)
    for trial, error in enumerate([0.3, 0.4, 0.9, 0.5]):
        ladder.record(trial, 0, (error, 1.0))
    ends = {0: 0.35, 1: 0.4, 2: 0.1, 3: 0.35}

    def forecast(trials: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        means = np.array([(ends[trial], 1.0) for trial in trials])
        return means, np.array([(0.2 if trial == 3 else 0.0, 0.0) for trial in trials])

    assert ladder.promote(forecast) == Promotion(2, 1)
    assert ladder.promote(forecast) in (Promotion(0, 1), Promotion(3, 1))


def test_a_failed_trial_counts_as_a_result_and_never_goes_on() -> None:
    ladder = Ladder(2, 2)
    ladder.record(0, 0, None)
    ladder.record(1, 0, (math.nan, 1.0))
    assert ladder.promote() is None
    ladder.record(2, 0, (0.9, 1.0))
    assert ladder.promote() == Promotion(2, 1)
    assert ladder.promote() is None


def test_a_retired_trial_keeps_its_result_and_its_place_stays_empty() -> None:
    ladder = Ladder(2, 2)
    ladder.record(0, 0, (0.1,))
    ladder.record(1, 0, (0.9,))
    ladder.retire(0)
    assert ladder.promote() is None
    assert not ladder.can_rise(0)
    ladder.record(2, 0, (0.2,))
    ladder.record(3, 0, (0.8,))
    assert ladder.promote() == Promotion(2, 1)


@given(
    st.lists(points, min_size=1, max_size=40),
    st.integers(2, 4),
    st.randoms(use_true_random=False),
)
def test_quotas_hold_in_any_order_of_results(found: list, factor: int, order) -> None:  # type: ignore[no-untyped-def, type-arg]
    """Results come late, twice, in any order; no rung promotes more than its share, none twice."""
    ladder = Ladder(RUNGS, factor)
    under_way = [(trial, 0) for trial in range(len(found))]
    promoted: Counter[tuple[int, int]] = Counter()
    results: Counter[int] = Counter()
    while under_way:
        trial, rung = under_way.pop(order.randrange(len(under_way)))
        error, cost = found[(trial * (rung + 1)) % len(found)]
        for _ in range(order.choice([1, 1, 2])):
            ladder.record(trial, rung, (error, cost))
        results[rung] += 1
        while order.random() < 0.7 and (chosen := ladder.promote()) is not None:
            promoted[chosen.trial, chosen.rung] += 1
            under_way.append((chosen.trial, chosen.rung))
            assert chosen.trial in ladder.results(chosen.rung - 1)
    assert all(count == 1 for count in promoted.values())
    for rung in range(1, RUNGS):
        assert sum(r == rung for _, r in promoted) <= results[rung - 1] / factor


@given(st.lists(points, min_size=1, max_size=40), st.integers(2, 3), st.integers(0, 10))
def test_a_restart_goes_on_as_if_there_was_none(found: list, factor: int, cut: int) -> None:  # type: ignore[type-arg]
    """A ladder built again from what was recorded promotes the same trials from there on."""

    def climb(restart: int | None) -> list[Promotion]:
        ladder, log, chosen = Ladder(RUNGS, factor), [], []
        for trial in range(len(found)):
            if trial == restart:
                ladder = Ladder(RUNGS, factor)
                for entry in reversed(log):
                    ladder.record(*entry)
                for promotion in chosen:
                    ladder.under_way(promotion.trial, promotion.rung)
            queue = [(trial, 0)]
            while queue:
                who, rung = queue.pop()
                log.append((who, rung, found[(who * (rung + 1)) % len(found)]))
                ladder.record(*log[-1])
                while (promotion := ladder.promote()) is not None:
                    chosen.append(promotion)
                    queue.append((promotion.trial, promotion.rung))
        return chosen

    assert climb(None) == climb(cut)


def test_only_trials_that_may_rise_need_their_checkpoint() -> None:
    ladder = Ladder(2, 2)
    ladder.record(0, 0, (0.1,))
    ladder.record(1, 0, (0.2,))
    assert ladder.can_rise(0) and ladder.can_rise(1)
    assert ladder.promote() == Promotion(0, 1)
    assert not ladder.can_rise(0)
    ladder.record(0, 1, (0.1,))
    assert not ladder.can_rise(0)
    assert ladder.rung_of(0) == 1 and ladder.rung_of(1) == 0 and ladder.rung_of(7) is None
