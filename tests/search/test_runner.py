"""run_study from end to end on a tiny backbone, in this process; Ray's part is in cluster/."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftnas.methods import BitFit, LoRA
from peftnas.search import (
    Recipe,
    RunSummary,
    Study,
    StudyResults,
    UsageError,
    open_results,
    run_study,
)
from peftnas.search.backbone import Backbone
from peftnas.search.baselines import FULL
from peftnas.search.inline_pool import InlinePool
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.preflight import Prepared
from peftnas.search.storage import sqlite_url
from peftnas.search.trial.fine_tune import run_trial
from peftnas.spaces import Integer, Maybe, Real, SearchSpace, Subset

SPACE = SearchSpace(
    Maybe(LoRA(rank=Integer(1, 8, log=True), targets=Subset("query", "value"))), Maybe(BitFit())
)
RECIPE = Recipe(
    steps=4, batch_size=8, max_length=32, evaluations=1, learning_rate=Real(1e-3, 1e-1, log=True)
)

Go = Callable[..., RunSummary]


class Trials:
    """Runs trials in this process and counts them."""

    def __init__(self) -> None:
        self.jobs: list[TrialJob] = []

    def pool(self, prepared: Prepared) -> InlinePool:
        bench = prepared.spec.build()

        def run(job: TrialJob) -> TrialResult:
            self.jobs.append(job)
            return run_trial(bench, job)

        return InlinePool(run)


@pytest.fixture
def study(bert: Backbone, good_or_bad: Any) -> Study:
    return Study("tiny", bert, good_or_bad(), SPACE, recipe=RECIPE)


@pytest.fixture
def trials() -> Trials:
    return Trials()


@pytest.fixture
def go(tmp_path: Path, trials: Trials) -> Go:
    def run(study: Study, **options: Any) -> RunSummary:
        settings = {"out": tmp_path, "progress": False, "make_pool": trials.pool} | options
        return run_study(study, **settings)

    return run


def results(folder: Path) -> StudyResults:
    return open_results(sqlite_url(folder), "tiny")


def test_a_study_from_the_first_trial_to_the_front(
    study: Study, go: Go, trials: Trials, tmp_path: Path
) -> None:
    summary = go(study, trials=5)
    assert summary.stopped == "done" and summary.ok
    assert (summary.kept, summary.trained, summary.failed) == (0, 5, 0)
    found = results(tmp_path)
    assert found.counts()["complete"] == 5 and found.counts()["running"] == 0
    assert [row.baseline for row in found.baselines] == [
        "head only",
        "LoRA r=8 on query and value",
        "BitFit",
        "full fine-tuning",
    ]
    assert all(row.state == "complete" for row in found.baselines)
    assert found.baselines[0].values["trainable_parameters"] == 0
    assert (
        found.baselines[3].values["trainable_parameters"]
        == found.content["backbone"]["parameters"]
    )
    assert found.baselines[3].recipe["learning_rate"] == FULL.learning_rate
    assert found.baselines[1].recipe["steps"] == 4
    kept = {int(f.name) for f in (tmp_path / "checkpoints").iterdir() if f.name.isdigit()}
    assert kept == {row.number for row in found.front()}
    growth = found.hypervolume()
    assert len(growth) == 5 and growth == sorted(growth) and 0 < growth[-1] < 1
    for row in found.finished:
        assert len(row.losses) == 4 and row.curve[-1]["accuracy"] == row.values["accuracy"]
    json.dumps(found.to_dict())
    assert found.facts["runs"][0]["timing"]["trials"] == 9
    assert 0 < summary.timing["busy_fraction"] <= 1
    assert len(trials.jobs) == 9


def test_the_same_call_again_trains_what_is_missing(study: Study, go: Go, trials: Trials) -> None:
    go(study, trials=3)
    before = len(trials.jobs)
    again = go(study, trials=3)
    assert (again.kept, again.trained, len(trials.jobs)) == (3, 0, before)
    assert "3 finished trials were kept, 0 were trained now" in again.words()
    more = go(study, trials=5)
    assert (more.kept, more.trained, len(trials.jobs)) == (3, 2, before + 2)


def test_what_a_worker_had_finished_is_told_without_training(
    study: Study, go: Go, trials: Trials, tmp_path: Path
) -> None:
    """The driver dies after a worker has written its checkpoint, before it is told."""

    class Died(Exception):
        pass

    def dying(prepared: Prepared) -> InlinePool:
        pool = trials.pool(prepared)
        next_event = pool.next_event

        def last(timeout: float | None = None) -> Any:
            event = next_event(timeout)
            if len(trials.jobs) == 3:
                raise Died
            return event

        pool.next_event = last  # type: ignore[method-assign]
        return pool

    with pytest.raises(Died):
        go(study, trials=4, baselines=False, make_pool=dying)
    assert results(tmp_path).counts()["running"] == 1
    summary = go(study, trials=4, baselines=False)
    assert (summary.kept, summary.trained, summary.resumed) == (2, 2, 1)
    keys = [job.key for job in trials.jobs]
    assert len(keys) == len(set(keys)) == 4


def test_a_baseline_that_a_dead_driver_left_finished_leaves_no_checkpoint(
    study: Study, go: Go, trials: Trials, tmp_path: Path
) -> None:
    class Died(Exception):
        pass

    def dying(prepared: Prepared) -> InlinePool:
        pool = trials.pool(prepared)
        next_event = pool.next_event

        def last(timeout: float | None = None) -> Any:
            if next_event(timeout) is not None:
                raise Died

        pool.next_event = last  # type: ignore[method-assign]
        return pool

    with pytest.raises(Died):
        go(study, trials=1, make_pool=dying)
    untuned = tmp_path / "checkpoints" / "baselines"
    assert len(list(untuned.iterdir())) == 1
    go(study, trials=1)
    assert list(untuned.iterdir()) == []
    keys = [job.key for job in trials.jobs]
    assert len(results(tmp_path).baselines) == 4 and keys.count(keys[0]) == 1


def test_a_trial_trains_the_same_wherever_it_runs(
    study: Study, go: Go, tmp_path: Path, trials: Trials
) -> None:
    go(study, trials=3, baselines=False)
    go(study, trials=3, baselines=False, out=tmp_path / "other")
    first, second = results(tmp_path), results(tmp_path / "other")
    assert [row.losses for row in first.trials] == [row.losses for row in second.trials]
    assert [row.params for row in first.trials] == [row.params for row in second.trials]


def test_another_study_of_the_same_name_is_refused(study: Study, go: Go) -> None:
    go(study, trials=1, baselines=False)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"seed": 1}, "seed: stored 0, now 1"),
        ({"space": SearchSpace(LoRA(rank=Integer(1, 9)))}, "space.items"),
        ({"recipe": Recipe(steps=5)}, "recipe.steps: stored 4"),
        ({"objectives": "accuracy"}, "objectives"),
    ]
    for change, words in changes:
        changed = dataclasses.replace(study, **change)
        with pytest.raises(UsageError, match="stored with other content") as caught:
            go(changed, trials=1)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"minutes": 0.0}, "minutes must be above 0"),
        ({"sampler": "cmaes"}, "sampler must be one of"),
        ({"sampler": "bruteforce"}, "takes no Real, got recipe.learning_rate"),
        ({"storage_url": "sqlite:///"}, "would be forgotten"),
    ],
)
def test_wrong_options_are_refused_before_a_worker_starts(
    study: Study, go: Go, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        go(study, make_pool=no_workers, **options)


def no_workers(prepared: Prepared) -> InlinePool:
    raise AssertionError("a worker was started")


def test_wrong_studies_are_refused_before_a_worker_starts(
    go: Go, bert: Backbone, good_or_bad: Any, tmp_path: Path
) -> None:
    task = good_or_bad()
    tight = SearchSpace(LoRA(rank=Integer(4, 8)), max_parameters=1)
    for wrong, words in [
        (Study("a", str(tmp_path / "none"), task, SPACE), "does not exist"),
        (
            Study("a", bert, task, tight),
            "found that meets its budget",
        ),
        (Study("a", bert, task, SPACE, constraints="trainable_parameters >= 1M"), ">= 1M; loosen"),
        (Study("a", bert, task, SearchSpace(LoRA(targets=("gate_proj",)))), "gate_proj"),
    ]:
        with pytest.raises(UsageError, match=words):
            go(wrong, make_pool=no_workers)
    with pytest.raises(UsageError, match="objective must be one of accuracy"):
        Study("a", bert, task, SPACE, objectives=("f1",))


def test_one_objective_is_enough(bert: Backbone, good_or_bad: Any, go: Go, tmp_path: Path) -> None:
    study = Study("tiny", bert, good_or_bad(), SPACE, recipe=RECIPE, objectives="accuracy")
    go(study, trials=2, baselines=False)
    found = results(tmp_path)
    assert found.front()[0].values["accuracy"] == max(r.values["accuracy"] for r in found.finished)


def test_baselines_that_do_not_apply_are_skipped_with_the_reason(
    llama: Backbone, good_or_bad: Any, go: Go, tmp_path: Path
) -> None:
    study = Study(
        "tiny", llama, good_or_bad(), SearchSpace(LoRA(rank=Integer(1, 4))), recipe=RECIPE
    )
    for _ in range(2):
        go(study, trials=1)
    rows = {row.baseline: row for row in results(tmp_path).baselines}
    assert len(results(tmp_path).baselines) == 4
    assert rows["BitFit"].state == "refused"
    assert rows["BitFit"].reason.startswith("skipped: does not apply to this backbone")
    assert rows["full fine-tuning"].state == "complete"


def test_a_first_ctrl_c_ends_after_the_event_and_the_next_call_goes_on(
    study: Study, go: Go, trials: Trials
) -> None:
    def pressed(prepared: Prepared) -> InlinePool:
        pool = trials.pool(prepared)
        submit = pool.submit

        def then(job: TrialJob) -> None:
            submit(job)
            if job.number == 2:
                os.kill(os.getpid(), signal.SIGINT)

        pool.submit = then  # type: ignore[method-assign]
        return pool

    handler = signal.getsignal(signal.SIGINT)
    summary = go(study, trials=5, baselines=False, make_pool=pressed)
    assert summary.stopped == "interrupted" and summary.ok
    assert "the same command goes on" in summary.words()
    assert signal.getsignal(signal.SIGINT) is handler
    again = go(study, trials=5, baselines=False)
    assert (again.kept + again.trained, again.stopped) == (5, "done")
    keys = [job.key for job in trials.jobs]
    assert len(keys) == len(set(keys))
