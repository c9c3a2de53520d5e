"""How runs end in corners: nothing that was begun is lost, and nothing waits for ever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from peftnas.search.demand import Failures
from peftnas.search.distributions import Answers
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.outcomes import outcome, rungs_of
from peftnas.search.plans import plan_of
from peftnas.search.pool_protocol import Event, Finished, Fit, WorkerFacts
from peftnas.search.proposals import Found
from tests.search.test_driver import Run, Workers, well
from tests.search.toys import train

RUNGS = ((10, 300), 3)


@pytest.mark.parametrize("rungs", [(), RUNGS])
def test_a_sampler_that_raises_ends_the_run_with_its_error(
    tmp_path: Path, rungs: tuple[object, ...]
) -> None:
    run = Run(tmp_path, Workers(1, well), target=30, rungs=rungs)
    proposer = run.asker._proposer
    known, asked = proposer.next, []

    def breaks() -> Found:
        asked.append(1)
        if len(asked) == 4:
            raise RuntimeError("the sampler broke")
        return known()

    proposer.next = breaks  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="the sampler broke"):
        run()
    assert len(run.records.numbers("complete", "stopped", "running")) == 3


def test_a_sampler_that_raises_at_the_last_result_is_heard(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(1, well), target=2)
    proposer = run.asker._proposer
    known, told = proposer.tell, []

    def breaks(*what: object) -> None:
        told.append(what)
        if len(told) == 2:
            raise RuntimeError("the sampler broke")
        known(*what)  # type: ignore[arg-type]

    proposer.tell = breaks  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="the sampler broke"):
        run()
    assert len(run.records.numbers("complete")) == 2


def test_a_promoted_trial_that_is_handed_back_at_the_deadline_goes_on_later(
    tmp_path: Path,
) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.until is None:
            run.board.deadline = 0.0
            return TrialResult("handed_back")
        return train(job)

    run = Run(tmp_path, Workers(1, end), target=1, rungs=RUNGS)
    assert run() == "time"
    [trial] = run.records.trials()
    assert outcome(trial) == "running" and len(rungs_of(trial)) == 1
    assert (tmp_path / "checkpoints/0").is_dir()
    again = Run(tmp_path, Workers(1, well), target=1, rungs=RUNGS)
    assert again() == "done"
    assert outcome(again.records.trials()[0]) == "complete"


def test_too_many_failures_beside_the_deadline_refuse_nothing(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number < 1:
            return TrialResult("failed", cause="error", error="boom")
        run.board.deadline = 0.0
        return TrialResult("handed_back")

    run = Run(tmp_path, Workers(6, end), target=40)
    run.driver.demand.failures = Failures(0)
    run()
    assert run.records.numbers("refused") == []
    assert len(run.records.numbers("running")) == 5


def test_an_error_that_stops_the_run_starts_no_left_over_work(tmp_path: Path) -> None:
    first = Run(tmp_path, Workers(6, well), target=40)
    first.driver.wish = lambda: "now" if first.driver._running else "go on"
    assert first() == "interrupted"
    left = first.records.numbers("running")
    assert len(left) >= 3

    pool = Workers(1, lambda job, attempt: TrialResult("failed", cause="error", error="boom"))
    run = Run(tmp_path, pool, target=40)
    run.driver.demand.failures = Failures(on_error="stop")
    assert run() == "failing"
    assert len(pool.starts) == 1
    assert len(run.records.numbers("running")) == len(left) - 1


def test_what_is_enqueued_and_proposed_at_once_is_trained_once(tmp_path: Path) -> None:
    others = Run(tmp_path / "other", Workers(1, well), target=12, finite=True)
    ahead = [others.asker._proposer.next().proposal for _ in range(2)][1]
    assert ahead is not None
    with others.log:
        pass

    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number == 0:
            # the run has proposed this one ahead, and cannot know that somebody wants it
            run.records.enqueue(ahead.plan, ahead.answers)
            run.driver.intake._looked = float("-inf")
        return train(job)

    run = Run(tmp_path / "this", Workers(1, end), target=12, finite=True)
    assert run() == "done"
    keys = [trial.user_attrs["train_key"] for trial in run.records.trials() if trial.values]
    assert len(keys) == 12 == len(set(keys))
    assert run.records.numbers("running") == []


def test_what_is_enqueued_after_it_was_begun_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(1, well), target=4)

    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number == 1:
            new = run.driver.intake
            trial = run.records.trials()[1]
            plan = plan_of(trial)
            assert plan is not None
            run.records.enqueue(plan, Answers.of(trial))
            new._looked = float("-inf")
        return train(job)

    run.driver.pool._end = end  # type: ignore[attr-defined]
    assert run() == "done"
    reasons = [trial.user_attrs.get("reason", "") for trial in run.records.trials()]
    assert "duplicate of trial 1" in reasons
    assert len(run.records.numbers("complete")) == 4


class Shrinking(Workers):
    """One worker of 200 bytes leaves when trial 1 has run out of memory on one of 100."""

    left = False

    def fits(self, job: TrialJob) -> Fit:
        return "never" if job.memory_bytes > 100 and self.left else super().fits(job)

    def workers(self) -> list[WorkerFacts]:
        return [replace(one, memory_bytes=100 if self.left else 200) for one in super().workers()]

    def next_event(self, timeout: float | None = None) -> Event | None:
        event = super().next_event(timeout)
        return replace(event, memory_bytes=100) if isinstance(event, Finished) else event


@pytest.mark.parametrize("rungs", [(), ((10, 300), 2)])
def test_a_trial_that_no_worker_has_room_for_is_replaced(
    tmp_path: Path, rungs: tuple[object, ...]
) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number == 1:
            return TrialResult("failed", cause="out_of_memory", error="out of memory")
        pool.left = job.number >= 2
        return train(job)

    pool = Shrinking(1, end)
    run = Run(tmp_path, pool, target=6, rungs=rungs)
    assert run() == "done"
    assert len(run.records.numbers("complete", "stopped")) == 6
    assert run.records.numbers("failed") == [1]
    assert run.records.numbers("running") == []


def test_a_trial_that_machines_took_down_teaches_nothing_after_a_restart(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(1, well), target=3)
    run()
    trial = run.records.trials()[1]
    plan = plan_of(trial)
    assert plan is not None
    other = replace(plan, recipe=plan.recipe | {"learning_rate": 0.02})
    number = run.records.start(other, Answers.of(trial))
    run.records.give_up(number, "its node went away 21 times")
    again = Run(tmp_path, Workers(1, well), target=4)
    states = [seen.state.name for seen in again.asker._proposer._view.trials()]
    assert states.count("COMPLETE") == 3 and "RUNNING" not in states
    assert again() == "done"
