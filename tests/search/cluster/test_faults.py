"""What becomes of a trial after each kind of fault."""

from pathlib import Path
from typing import get_args

import pytest

from peftnas.search.cluster.faults import RULES, Cause, FaultPolicy, GiveUp, Resubmit

GB = 10**9
POLICY = FaultPolicy()


def causes() -> set[str]:
    """All causes there are."""
    return {name for part in get_args(Cause) for name in (get_args(part) or (part,))}


def test_there_is_a_rule_for_every_cause_and_a_line_of_the_docs_for_every_rule() -> None:
    assert set(RULES) == causes()
    page = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    assert {line.split("`")[1] for line in lines} == causes()
    for line in lines:
        rule = RULES[line.split("`")[1]]  # type: ignore[index]
        assert line.rstrip(" |").endswith(rule.lesson)
        words = {2: "twice", 1: "once", 20: "20 times"}
        if rule.retries is None:
            assert "always, not counted" in line
        elif "as often as" not in line:
            assert words[rule.retries] in line


@pytest.mark.parametrize("cause", ["worker_killed", "node_gone", "hangs", "cannot_save"])
def test_a_trial_runs_again_as_often_as_the_table_says(cause: Cause) -> None:
    rule = RULES[cause]
    assert rule.retries is not None
    for losses in range(1, rule.retries + 1):
        assert POLICY.after(cause, losses, "gone") == Resubmit()
    given_up = POLICY.after(cause, rule.retries + 1, "gone")
    assert isinstance(given_up, GiveUp) and given_up.lesson == rule.lesson
    assert given_up.reason == f"{rule.words} {rule.retries + 1} times; the last time: gone"


def test_being_handed_back_never_counts() -> None:
    assert POLICY.after("handed_back", 1000, "asked") == Resubmit(counted=False)


def test_memory_of_a_device_makes_a_trial_infeasible_for_that_size_only() -> None:
    def after(memory: int, largest: int, losses: int = 1) -> Resubmit | GiveUp:
        return POLICY.after(
            "device_memory", losses, "full", memory_bytes=memory, largest_bytes=largest
        )

    assert after(16 * GB, 80 * GB) == Resubmit(16 * GB + 1)
    assert after(24 * GB, 80 * GB, losses=2) == Resubmit(24 * GB + 1)
    assert after(80 * GB, 80 * GB) == GiveUp("its device ran out of memory; full", "infeasible")
    assert isinstance(after(0, 0), GiveUp)


def test_memory_of_a_host_may_have_been_taken_by_others_so_it_is_tried_once_more() -> None:
    def after(losses: int, largest: int) -> Resubmit | GiveUp:
        return POLICY.after("host_memory", losses, "full", memory_bytes=GB, largest_bytes=largest)

    assert after(1, GB) == Resubmit()
    assert after(1, 2 * GB) == Resubmit(GB + 1)
    assert isinstance(after(2, 2 * GB), GiveUp)
