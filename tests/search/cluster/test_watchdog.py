"""When a trial hangs: by a clock that the test turns."""

import pytest

from peftnas.search.cluster.watchdog import Patience, Watch


def silent_for(watch: Watch, limit: float, patience: Patience, longest: float = 0.0) -> None:
    """It hangs just beyond the limit, and not within."""
    assert watch.hangs(patience, longest, watch.since + limit) is None
    assert watch.hangs(patience, longest, watch.since + limit + 0.1) is not None


def test_a_trial_has_a_minute_or_twenty_of_its_steps() -> None:
    watch = Watch(since=100.0)
    watch.seen(beats=5, step=4, median_s=0.5, now=101.0)
    silent_for(watch, 60.0, Patience())
    watch.seen(beats=9, step=8, median_s=10.0, now=140.0)
    silent_for(watch, 200.0, Patience())
    silent_for(watch, 7.0, Patience(step_timeout_s=7.0))


def test_what_lasted_long_in_a_trial_that_ended_well_may_last_long_again() -> None:
    watch = Watch(since=0.0, beats=5, step=4, median_s=0.1)
    silent_for(watch, 400.0, Patience(), longest=100.0)
    watch.seen(6, 5, 0.1, now=90.0)
    watch.seen(7, 6, 0.1, now=91.0)
    assert watch.longest_s == 90.0


def test_before_the_first_step_there_is_more_time() -> None:
    watch = Watch(since=0.0)
    silent_for(watch, 900.0, Patience())
    watch.seen(beats=1, step=0, median_s=0.0, now=10.0)
    silent_for(watch, 900.0, Patience(step_timeout_s=5.0))
    silent_for(watch, 2000.0, Patience(step_timeout_s=2000.0))
    assert watch.longest_s == 0.0


def test_a_report_that_says_nothing_new_is_no_sign_of_life() -> None:
    watch = Watch(since=0.0)
    watch.seen(5, 4, 0.1, now=1.0)
    watch.seen(5, 4, 0.1, now=50.0)
    assert watch.since == 1.0
    why = watch.hangs(Patience(), 0.0, 62.0)
    assert why == "hangs: no sign of life for 61 s after step 4, where 60 s are allowed"


def test_a_timeout_is_above_zero() -> None:
    with pytest.raises(ValueError, match="step_timeout_s must be above 0, got 0"):
        Patience(0.0)
