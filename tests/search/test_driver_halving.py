"""The driver with halving: who trains how far, across restarts, and what is left at the end."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.outcomes import outcome, rungs_of
from peftnas.search.pareto import minimised, ranks
from peftnas.search.pool_protocol import Event
from tests.search.test_driver import Outcome, Run, Workers, well
from tests.search.toys import train

RUNGS = ((10, 30, 300), 3)


def trainings(run: Run) -> Counter[tuple[int, int | None]]:
    """How often each trial was trained to each rung, by what the study holds."""
    found: Counter[tuple[int, int | None]] = Counter()
    for trial in run.records.trials():
        steps = [entry["step"] for entry in rungs_of(trial)]
        found.update((trial.number, step) for step in steps)
        if outcome(trial) == "complete":
            found[trial.number, None] += 1
    return found


def by_rung(run: Run) -> Counter[int | None]:
    return Counter(step for _, step in trainings(run))


@pytest.mark.parametrize("workers", [1, 4])
def test_one_of_three_goes_on_at_each_rung(tmp_path: Path, workers: int) -> None:
    pool = Workers(workers, well)
    run = Run(tmp_path, pool, target=27, rungs=RUNGS)
    assert run() == "done"
    assert by_rung(run) == {10: 27, 30: 9, None: 3}
    assert len(run.records.numbers("complete")) == 3
    assert len(run.records.numbers("stopped")) == 24
    assert run.records.numbers("running") == []
    assert max(trainings(run).values()) == 1
    assert len(pool.starts) == 27 + 9 + 3


def test_the_front_is_of_whole_trainings_and_keeps_their_checkpoints(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        return train(job)

    run = Run(tmp_path, Workers(2, end), target=30, rungs=RUNGS)
    run()
    front = run.standing.front.numbers
    assert front and front <= set(run.records.numbers("complete"))
    assert front == {trial.number for trial in run.records.study.best_trials}
    assert {int(kept.name) for kept in (tmp_path / "checkpoints").iterdir()} == front


def test_a_study_of_few_trials_still_trains_one_whole(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(2, well), target=2, rungs=RUNGS)
    assert run() == "done"
    assert by_rung(run) == {10: 2, 30: 1, None: 1}


def test_those_promoted_are_of_the_first_ranks(tmp_path: Path) -> None:
    """With one worker and all results there, nobody is promoted over somebody he is behind of."""
    run = Run(tmp_path, Workers(1, well), target=40, rungs=RUNGS)
    run()
    trials = [trial for trial in run.records.trials() if rungs_of(trial)]
    points = minimised(
        [rungs_of(trial)[0]["values"] for trial in trials], ["maximize", "minimize"]
    )
    rank = ranks(points)
    went_on = [len(rungs_of(trial)) > 1 for trial in trials]
    pairs = list(zip(rank, went_on, strict=True))
    mean_up = sum(r for r, up in pairs if up) / sum(went_on)
    mean_left = sum(r for r, up in pairs if not up) / (len(pairs) - sum(went_on))
    assert mean_up < mean_left


@pytest.mark.parametrize("seed", range(6))
def test_interrupted_anywhere_it_goes_on_without_repetition(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        run = Run(tmp_path, pool := Workers(chance.choice((1, 3)), well), target=27, rungs=RUNGS)
        stop_after = chance.randrange(1, 12)

        def end(
            job: TrialJob,
            attempt: int,
            run: Run = run,
            pool: Workers = pool,
            stop_after: int = stop_after,
        ) -> TrialResult:
            run.wish = "now" if len(pool.starts) >= stop_after else "go on"
            return train(job)

        pool._end = end
        if run() == "done":
            break
    assert max(trainings(run).values()) == 1
    counts = by_rung(run)
    assert counts[10] == 27
    # one more can be promoted than a share of those that were there
    assert 9 <= counts[30] <= 10 and 3 <= counts[None] <= 4
    assert run.records.numbers("running") == []
    assert {int(kept.name) for kept in (tmp_path / "checkpoints").iterdir()} <= {
        trial.number for trial in run.records.study.best_trials
    }


def test_a_failure_above_the_first_rung_is_replaced(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.until == 30 and not failed:
            failed.append(job.number)
            return TrialResult("failed", cause="diverged", error="the training loss is nan")
        return train(job)

    failed: list[int] = []
    run = Run(tmp_path, Workers(2, end), target=12, rungs=RUNGS)
    assert run() == "done"
    assert run.records.numbers("failed") == failed != []
    assert len(run.records.numbers("complete", "stopped")) == 12


def test_a_worker_lost_at_a_rung_trains_it_again(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult | str:
        if job.until == 30 and starts[job.number] == 1:
            starts[job.number] += 1
            return "the worker was killed"
        starts[job.number] += 1
        return train(job)

    starts: Counter[int] = Counter()
    run = Run(tmp_path, Workers(2, end), target=9, rungs=RUNGS)
    assert run() == "done"
    assert by_rung(run) == {10: 9, 30: 3, None: 1}


def test_a_waiting_trial_whose_checkpoint_is_gone_is_stopped(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(1, well), target=30, rungs=RUNGS)
    run.driver.wish = lambda: "now" if run.standing.finished >= 8 else "go on"
    assert run() == "interrupted"
    running = [trial for trial in run.records.trials() if outcome(trial) == "running"]
    gone = next(trial.number for trial in running if len(rungs_of(trial)) == 1)
    (tmp_path / "checkpoints" / str(gone)).rmdir()
    again = Run(tmp_path, Workers(1, well), target=30, rungs=RUNGS)
    assert again() == "done"
    trial = again.records.trials()[gone]
    assert outcome(trial) == "stopped" and "checkpoint is gone" in trial.user_attrs["reason"]
    assert len(rungs_of(trial)) == 1


def test_more_trials_go_on_from_a_finished_study(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(2, well), target=9, rungs=RUNGS)
    assert run() == "done"
    again = Run(tmp_path, Workers(2, well), target=18, rungs=RUNGS)
    assert again() == "done"
    assert by_rung(again) == {10: 18, 30: 6, None: 2}
    assert max(trainings(again).values()) == 1


def test_a_trial_handed_back_is_no_loss(tmp_path: Path) -> None:
    seen: Counter[int] = Counter()

    def end(job: TrialJob, attempt: int) -> TrialResult:
        seen[job.number] += 1
        if seen[job.number] <= 4 and job.number == 1:
            return TrialResult("handed_back", step=3)
        return train(job)

    run = Run(tmp_path, Workers(1, end), target=4)
    assert run() == "done"
    assert "losses" not in run.records.trials()[1].user_attrs
    assert run.records.numbers("failed") == []


class Recovering(Workers):
    """One worker that is replaced after some jobs: for a while nobody is idle, and nothing runs.

    Args:
        end: what becomes of jobs.
        after: numbers of jobs after which it is replaced.
        calls: of ``next_event`` until the next one is up.
    """

    def __init__(self, end: Outcome, after: set[int], calls: int = 5) -> None:
        super().__init__(1, end)
        self._after, self._calls, self._away = after, calls, 0

    @property
    def idle(self) -> int:
        return 0 if self._away else super().idle

    def next_event(self, timeout: float | None = None) -> Event | None:
        if self._away:
            self._away -= 1
            return None
        event = super().next_event(timeout)
        if event is not None and len(self.starts) in self._after:
            self._away = self._calls
        return event


def test_it_waits_for_a_worker_that_is_replaced_before_the_last_promotions(tmp_path: Path) -> None:
    run = Run(tmp_path, Recovering(well, {9, 10, 12}), target=9, rungs=RUNGS)
    assert run() == "done"
    assert by_rung(run) == {10: 9, 30: 3, None: 1}


def test_it_waits_for_a_worker_that_is_replaced_while_proposals_are_on_their_way(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path, Recovering(well, {1, 2, 3, 4}), target=5)
    assert run() == "done"
    assert len(run.records.numbers("complete")) == 5


def test_where_the_first_rung_tells_nothing_new_trials_start_above_it(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        result = train(job)
        if job.until != 10:
            return result
        # the better a trial would be, the worse it looks at first
        return replace(result, metrics={"accuracy": 1.0 - train(whole(job)).metrics["accuracy"]})

    def whole(job: TrialJob) -> TrialJob:
        return replace(job, until=None)

    pool = Workers(2, end)
    rungs = ((10, 30, 300), 2)
    run = Run(tmp_path, pool, target=100, rungs=rungs)
    assert run() == "done"
    assert run.standing.first_rung == 1
    counts = by_rung(run)
    above = [t for t in run.records.trials() if rungs_of(t) and rungs_of(t)[0]["step"] == 30]
    assert above and counts[10] + len(above) == 100 == run.standing.finished
    assert max(trainings(run).values()) == 1
    assert len(run.records.numbers("complete", "stopped")) == 100

    again = Run(tmp_path, Workers(2, end), target=110, rungs=rungs)
    assert again.standing.first_rung == 1 and again.standing.finished == 100
    assert again() == "done"
    assert by_rung(again)[10] == counts[10]
    assert len(again.records.numbers("complete", "stopped")) == 110
