"""The driver against scripted workers: limits, losses, failures, resuming, one writer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from peftnas.search.asking import Asker
from peftnas.search.demand import FAILED_AT_FIRST, Demand, Failures
from peftnas.search.distributions import Answers
from peftnas.search.driver import Driver, Stopped
from peftnas.search.inline_pool import InlinePool
from peftnas.search.intake import Intake
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.log import EventLog
from peftnas.search.mishaps import Mishaps
from peftnas.search.outcomes import outcome
from peftnas.search.plans import plan_of
from peftnas.search.pool_protocol import Event, Finished, Fit, Lost, Pool, WorkerFacts
from peftnas.search.progress import Board, Silent
from peftnas.search.proposals import Proposer
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
from peftnas.search.resume import retell
from peftnas.search.sampling.samplers import make_sampler
from peftnas.search.sampling.view import SamplerView
from peftnas.search.standing import Standing
from peftnas.search.storage import open_study, open_to_write, quiet_optuna, sqlite_url
from peftnas.search.wishes import Wish
from peftnas.search.work import Work
from tests.search.toys import (
    BACKBONE,
    RECIPE,
    ToyAnatomy,
    conditional_space,
    finite_space,
    objectives,
    train,
)

Outcome = Callable[[TrialJob, int], TrialResult | str]


class Workers:
    """Several workers that end their jobs in order; a text instead of a result is a loss."""

    def __init__(self, n: int, end: Outcome) -> None:
        self._n, self._end = n, end
        self.jobs: list[TrialJob] = []
        self.starts: list[int] = []

    @property
    def idle(self) -> int:
        return self._n - len(self.jobs)

    def submit(self, job: TrialJob) -> None:
        assert self.idle
        self.jobs.append(job)
        self.starts.append(job.number)

    def next_event(self, timeout: float | None = None) -> Event | None:
        if not self.jobs or (timeout == 0 and self.idle):
            return None
        job = self.jobs.pop(0)
        ended = self._end(job, self.starts.count(job.number))
        return Lost(job, ended) if isinstance(ended, str) else Finished(job, ended)

    def fits(self, job: TrialJob) -> Fit:
        return "now" if self.idle else "later"

    def hand_back(self) -> None:
        self._end = lambda job, attempt: TrialResult("handed_back")

    def workers(self) -> list[WorkerFacts]:
        return [WorkerFacts(number, "idle") for number in range(self._n)]

    def close(self) -> None:
        self.jobs = []


def well(job: TrialJob, attempt: int) -> TrialResult:
    return train(job)


class Run:
    """A study in a folder, as one process would open it."""

    def __init__(
        self,
        out: Path,
        pool: Pool,
        *,
        target: int | None = 5,
        finite: bool = False,
        rungs: tuple[Any, ...] = (),
    ) -> None:
        space, recipe = (finite_space(), Recipe()) if finite else (conditional_space(), RECIPE)
        storage = open_to_write(sqlite_url(out))
        study = open_study(
            storage, "toy", directions=["maximize", "minimize"], content={"toy": finite}
        )
        self.records = Records(study, objectives(), BACKBONE)
        self.records.recover()
        self.standing = Standing(self.records, out, *rungs)
        sampler = make_sampler("random", 0, len(self.records.trials()))
        view = SamplerView(
            sampler, ["maximize", "minimize"], self.standing.top + 1, exact=(False, True)
        )
        proposer = Proposer(view, space.bind(ToyAnatomy()), recipe)
        tickets = retell(proposer, self.records, self.standing.top)
        left = self.standing.restore(tickets)
        numbers = {ticket: number for number, ticket in tickets.items()}
        self.board = Board("toy", objectives(), target=target)
        self.wish: Wish = "go on"
        self.done: dict[int, TrialResult] = {}
        self.log = EventLog(out / "log.jsonl")
        self.asker = Asker(proposer)
        intake = Intake(self.asker, self.records, self.standing, self.log, numbers)
        self.driver = Driver(
            pool,
            self.records,
            intake,
            Mishaps(pool, self.log, self.written),
            self.standing,
            Demand(self.board, self.records),
            self.board,
            Silent(),
            self.log,
            lambda: self.wish,
            first=left,
        )

    def written(self, work: Work) -> TrialResult | None:
        return self.done.get(work.number)

    def __call__(self) -> Stopped:
        with self.log, self.asker:
            return self.driver.run()


@pytest.mark.parametrize("workers", [1, 3])
def test_it_trains_the_asked_number_and_no_more(tmp_path: Path, workers: int) -> None:
    run = Run(tmp_path, Workers(workers, well), target=7)
    assert run() == "done"
    assert len(run.records.numbers("complete")) == 7
    assert run.records.numbers("running") == []
    again = Run(tmp_path, Workers(workers, well), target=9)
    assert again() == "done"
    assert len(again.records.numbers("complete")) == 9
    assert again.board.trained == 2


def test_trials_in_this_process(tmp_path: Path) -> None:
    run = Run(tmp_path, InlinePool(train), target=3)
    assert run() == "done"
    assert len(run.records.numbers("complete")) == 3


def test_the_front_is_that_of_the_study(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(2, well), target=12)
    run()
    best = {trial.number for trial in run.records.study.best_trials}
    words = {run.records.trials()[number].user_attrs["words"] for number in best}
    assert {shown for _, shown in run.board.front} == words
    counts = [values["trainable_parameters"] for values, _ in run.board.front]
    assert counts == sorted(counts)


def test_a_lost_trial_runs_again_under_its_own_number(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult | str:
        return "the worker was killed" if attempt < 3 and job.number % 2 else train(job)

    workers = Workers(2, end)
    run = Run(tmp_path, workers, target=6)
    assert run() == "done"
    assert len(run.records.numbers("complete")) == 6
    assert workers.starts.count(1) == 3
    assert run.records.trials()[1].user_attrs["losses"] == {"worker_killed": 2}


def test_three_losses_fail_a_trial_with_the_reason(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult | str:
        return "the node is gone" if job.number == 1 else train(job)

    workers = Workers(1, end)
    run = Run(tmp_path, workers, target=4)
    assert run() == "done"
    assert workers.starts.count(1) == 3
    lost = run.records.trials()[1]
    assert outcome(lost) == "failed"
    assert "3 times" in lost.user_attrs["reason"]
    assert "the node is gone" in lost.user_attrs["reason"]
    assert len(run.records.numbers("complete")) == 4


def test_failed_trainings_are_told_as_infeasible_and_do_not_count(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number % 3 == 0:
            return TrialResult("failed", cause="diverged", error="the training loss is nan")
        return train(job)

    run = Run(tmp_path, Workers(2, end), target=8)
    assert run() == "done"
    failed = [run.records.trials()[number] for number in run.records.numbers("failed")]
    assert len(run.records.numbers("complete")) == 8
    assert failed and all(trial.values == [0.0, float(BACKBONE)] for trial in failed)
    assert all(trial.user_attrs["reason"].startswith("diverged: ") for trial in failed)
    assert not {trial.number for trial in failed} & {
        trial.number for trial in run.records.study.best_trials
    }


def test_when_every_training_fails_it_stops(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        return TrialResult("failed", cause="error", error="Traceback\nKeyError: 'x'")

    run = Run(tmp_path, Workers(1, end), target=50)
    assert run() == "failing"
    assert FAILED_AT_FIRST <= run.board.failed <= FAILED_AT_FIRST + 1
    assert run.records.trials()[0].user_attrs["reason"] == "error: KeyError: 'x'"


def test_a_metric_that_the_task_does_not_measure_fails_the_trial(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        return TrialResult("complete", metrics={"f1": 0.5}, trainable_parameters=1)

    run = Run(tmp_path, Workers(1, end), target=2)
    assert run() == "failing"
    assert "score must return accuracy, got f1" in run.records.trials()[0].user_attrs["reason"]


def test_an_exhausted_space_ends_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(2, well), target=100, finite=True)
    assert run() == "exhausted"
    assert len(run.records.numbers("complete")) == 12
    assert run.records.numbers("running") == []


def test_after_the_deadline_nothing_starts_and_what_runs_is_finished(tmp_path: Path) -> None:
    now = 0.0

    def end(job: TrialJob, attempt: int) -> TrialResult:
        nonlocal now
        now += 10.0
        return train(job)

    run = Run(tmp_path, Workers(2, end), target=None)
    run.board.clock, run.board.deadline = lambda: now, 35.0
    assert run() == "time"
    assert len(run.records.numbers("complete")) == 5
    assert run.records.numbers("running") == []


def test_an_interrupted_run_is_resumed_without_loss_or_repetition(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        first.wish = "now" if len(pool.starts) >= 4 else "go on"
        return train(job)

    pool = Workers(2, end)
    first = Run(tmp_path, pool, target=10)
    assert first() == "interrupted"
    left = first.records.numbers("running")
    finished = first.records.numbers("complete")
    assert left and finished

    workers = Workers(2, well)
    second = Run(tmp_path, workers, target=10)
    assert second() == "done"
    assert set(left) <= set(workers.starts)
    assert not set(finished) & set(workers.starts)
    assert len(second.records.numbers("complete")) == 10
    assert second.records.numbers("running") == []


def test_what_died_inside_ask_or_between_result_and_tell_is_put_in_order(tmp_path: Path) -> None:
    with quiet_optuna():
        run = Run(tmp_path, Workers(1, well), target=2)
    run()
    study = run.records.study
    study.ask().suggest_categorical("toy_knob", [False, True])  # and the process dies
    plan = plan_of(run.records.trials()[0])
    assert plan is not None
    number = run.records.start(plan, Answers.of(run.records.trials()[0]))
    trial = optuna.trial.Trial(study, run.records.trials()[number]._trial_id)
    trial.set_user_attr("result", train(plan.job(number, "")).to_dict())
    trial.set_constraint("feasible", 0.0)  # and the process dies before tell

    workers = Workers(1, well)
    again = Run(tmp_path, workers, target=3)
    assert again() == "done"
    assert workers.starts == []
    assert again.records.trials()[2].user_attrs["reason"] == "died inside ask"
    assert outcome(again.records.trials()[number]) == "complete"


def test_what_is_left_and_no_longer_needed_is_ended(tmp_path: Path) -> None:
    pool = Workers(3, well)
    first = Run(tmp_path, pool, target=8)

    def end(job: TrialJob, attempt: int) -> TrialResult:
        first.wish = "now" if len(first.records.numbers("complete")) >= 2 else "go on"
        return train(job)

    pool._end = end
    assert first() == "interrupted"
    second = Run(tmp_path, Workers(3, well), target=4)
    assert second() == "done"
    assert len(second.records.numbers("complete")) == 4
    assert second.records.numbers("running") == []
    assert any(
        "no longer needed" in trial.user_attrs.get("reason", "")
        for trial in second.records.trials()
    )


def test_checkpoints_are_kept_for_the_front_only(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        Path(job.folder).mkdir(parents=True)
        (Path(job.folder) / "result.json").write_text("{}")
        return train(job)

    run = Run(tmp_path, Workers(2, end), target=10)
    run()
    best = {str(trial.number) for trial in run.records.study.best_trials}
    assert {folder.name for folder in (tmp_path / "checkpoints").iterdir()} == best


def test_the_log_tells_every_event(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(1, well), target=3)
    run()
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"event": "torn')
    Run(tmp_path, Workers(1, well), target=4)()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines if not line.endswith("torn")]
    assert events.count("finished") == 4
    assert sum(line.endswith("torn") for line in lines) == 1


def test_what_was_enqueued_and_never_asked_for_is_ended(tmp_path: Path) -> None:
    run = Run(tmp_path, Workers(1, well), target=2)
    run()
    run.records.study.enqueue_trial({"toy_knob": False})  # and the process dies
    again = Run(tmp_path, Workers(1, well), target=2)
    assert again() == "done"
    assert again.records.numbers("running") == []
    assert again.records.trials()[-1].user_attrs["reason"] == "died inside ask"


def test_a_worker_that_is_lost_after_it_wrote_its_result_does_not_run_it_again(
    tmp_path: Path,
) -> None:
    def end(job: TrialJob, attempt: int) -> str:
        run.done[job.number] = train(job)
        return "killed on its way back"

    workers = Workers(1, end)
    run = Run(tmp_path, workers, target=3)
    assert run() == "done"
    assert len(run.records.numbers("complete")) == 3
    assert len(workers.starts) == len(set(workers.starts)) == 3


def test_the_line_of_a_failed_trial_says_why(tmp_path: Path) -> None:
    class Kept(Silent):
        """Keeps the lines."""

        def __init__(self) -> None:
            self.lines: list[str] = []

        def note(self, line: str) -> None:
            self.lines.append(line)

    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number != 1:
            return train(job)
        error = "Traceback\n  ...\nValueError: a prompt of 90 leaves no room; shorten the prompt"
        return TrialResult("failed", cause="error", error=error)

    run = Run(tmp_path, Workers(1, end), target=4)
    run.driver.progress = kept = Kept()
    run()
    [failed] = [line for line in kept.lines if "failed" in line]
    reason = "error: ValueError: a prompt of 90 leaves no room; shorten the prompt"
    assert f"failed, {reason} (0.0 s)" in failed
    [row] = [trial for trial in run.records.trials() if trial.number == 1]
    assert row.user_attrs["reason"] == reason


def test_what_is_enqueued_is_trained_before_the_next_proposal(tmp_path: Path) -> None:
    first = Run(tmp_path, Workers(1, well), target=2)
    first()
    trial = first.records.trials()[0]
    plan = plan_of(trial)
    assert plan is not None
    wished = replace(plan, recipe=plan.recipe | {"learning_rate": 0.02})
    number = first.records.enqueue(wished, Answers.of(trial))

    workers = Workers(1, well)
    run = Run(tmp_path, workers, target=4)
    assert run() == "done"
    assert workers.starts[0] == number
    assert outcome(run.records.trials()[number]) == "complete"
    assert len(run.records.numbers("complete")) == 4


def test_what_is_enqueued_while_it_runs_is_trained(tmp_path: Path) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number == 1:
            trial = run.records.trials()[0]
            plan = plan_of(trial)
            assert plan is not None
            wished = replace(plan, recipe=plan.recipe | {"learning_rate": 0.02})
            numbers.append(run.records.enqueue(wished, Answers.of(trial)))
        return train(job)

    numbers: list[int] = []
    run = Run(tmp_path, Workers(1, end), target=6)
    run.driver.intake._look_every_s = 0.0
    assert run() == "done"
    assert outcome(run.records.trials()[numbers[0]]) == "complete"
    assert len(run.records.numbers("complete")) == 6


@pytest.mark.parametrize(
    ("failures", "trained"), [(Failures(most=2), 3), (Failures(on_error="stop"), 1)]
)
def test_a_run_ends_after_the_failures_that_were_allowed(
    tmp_path: Path, failures: Failures, trained: int
) -> None:
    def end(job: TrialJob, attempt: int) -> TrialResult:
        if job.number % 2:
            return train(job)
        return TrialResult("failed", cause="error", error="Traceback\nKeyError: 'x'")

    run = Run(tmp_path, Workers(1, end), target=50)
    run.driver.demand.failures = failures
    assert run() == "failing"
    assert run.board.failed == trained
    assert run.records.numbers("running") == []
