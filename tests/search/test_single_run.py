"""A call of run_study that finds a study which an earlier call left when it was nearly done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftnas.search import RunSummary, Study, run_study
from peftnas.search.backbone import Backbone
from peftnas.search.halving import Halving
from peftnas.search.inline_pool import InlinePool
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.preflight import Prepared
from peftnas.search.standing import Standing
from tests.search.test_runner import RECIPE, SPACE, Trials, results


class Died(Exception):
    """Stands for a kill -9 of the driver: nothing after it is done."""


def go(study: Study, out: Path, trials: Trials, target: int, pool: Any = None) -> RunSummary:
    return run_study(
        study,
        out=out,
        trials=target,
        progress=False,
        baselines=False,
        make_pool=pool or trials.pool,
    )


def kept(out: Path) -> set[int]:
    return {int(entry.name) for entry in (out / "checkpoints").iterdir()}


@pytest.fixture
def study(bert: Backbone, good_or_bad: Any) -> Study:
    return Study("tiny", bert, good_or_bad(), SPACE, recipe=RECIPE)


def test_trials_that_wait_at_a_rung_are_promoted_after_a_restart(
    bert: Backbone, good_or_bad: Any, tmp_path: Path
) -> None:
    """All six have a first score, so the number is full; the whole trainings are still to come."""
    halving = Halving(min_steps=1)
    study = Study("tiny", bert, good_or_bad(), SPACE, recipe=RECIPE, halving=halving)
    trials = Trials()

    def dying(prepared: Prepared) -> InlinePool:
        bench_pool = trials.pool(prepared)
        inner = bench_pool._run

        def run(job: TrialJob) -> TrialResult:
            firsts = sum(known.until == 1 for known in trials.jobs)
            if firsts == 6 and job.until is None:
                raise Died
            return inner(job)

        bench_pool._run = run
        return bench_pool

    with pytest.raises(Died):
        go(study, tmp_path, trials, 6, dying)
    assert results(tmp_path).counts()["running"] > 0

    summary = go(study, tmp_path, trials, 6)
    counts = results(tmp_path).counts()
    assert summary.stopped == "done"
    assert counts["complete"] + counts["stopped"] == 6 and counts["complete"] == 2
    assert counts["running"] == counts["refused"] == 0
    trained = [(job.number, job.until) for job in trials.jobs]
    assert len(trained) == len(set(trained))
    assert kept(tmp_path) == {row.number for row in results(tmp_path).front()}


def test_a_full_study_is_left_without_checkpoints_of_trials_off_the_front(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver dies between the last result and the removal of what nobody needs."""
    trials = Trials()
    remove = Standing.keep_checkpoints

    def dying(self: Standing, under_way: set[int]) -> None:
        if len(trials.jobs) == 6:
            raise Died
        remove(self, under_way)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(Standing, "keep_checkpoints", dying)
        go(study, tmp_path, trials, 6)
    off = {row.number for row in results(tmp_path).finished} - {
        row.number for row in results(tmp_path).front()
    }
    (tmp_path / "checkpoints" / str(min(off))).mkdir(exist_ok=True)
    go(study, tmp_path, trials, 6)
    assert len(trials.jobs) == 6
    assert kept(tmp_path) == {row.number for row in results(tmp_path).front()}
