"""A study under Ray Tune: scores of ``run``, pauses, kills, refusals, searchers. Starts Ray."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import optuna
import pytest
import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from peftnas.methods import BitFit
from peftnas.methods.lora import LoRA as BaseLoRA
from peftnas.search import (
    Recipe,
    Study,
    TrialRow,
    TuneSpace,
    UsageError,
    as_trainable,
    open_results,
    run_study,
)
from peftnas.search.backbone import Backbone
from peftnas.search.cluster.trainable import StudyTrainable
from peftnas.search.halving import Halving
from peftnas.search.inline_pool import in_this_process
from peftnas.search.storage import sqlite_url
from peftnas.search.trial.artifact import HEAD, MODULES
from peftnas.spaces import Integer, Maybe, Real, SearchSpace, Subset
from tests.search import conftest

# neither this file nor the fixtures can be imported by a worker
BY_VALUE = (sys.modules[__name__], conftest)


@dataclass(frozen=True, kw_only=True)
class OwnTuneLoRA(BaseLoRA):
    """A method that a user's file defines."""

    kind: ClassVar[str] = "own_tune_lora"


LORA = OwnTuneLoRA(rank=Integer(1, 8, log=True), targets=Subset("query", "value"))
SPACE = SearchSpace(Maybe(LORA), Maybe(BitFit()))
RECIPE = Recipe(
    steps=8, batch_size=8, max_length=32, evaluations=1, learning_rate=Real(1e-3, 1e-1, log=True)
)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def study(bert: Backbone, good_or_bad: Any) -> Study:
    return Study("tuned-1.0", bert, good_or_bad(), SPACE, RECIPE)


@pytest.fixture(scope="module")
def calm(study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TrialRow]]:
    """The folder and the trials of a run without Tune."""
    out = tmp_path_factory.mktemp("calm")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_study(study, out=out, trials=4, progress=False, baselines=False, make_pool=in_this_process)
    torch.set_num_threads(threads)
    return out, open_results(sqlite_url(out), study.name).finished


class Pausing(FIFOScheduler):
    """Pauses a trial at every rung, so that it goes on wherever there is room later.

    It keeps all rows by trial, since Tune may lose one of its own file when a trial is resumed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[dict[str, Any]]] = {}

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        self.rows.setdefault(trial.trial_id, []).append(result)
        return TrialScheduler.PAUSE

    def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.rows[trial.trial_id].append(result)


class Killing(FIFOScheduler):
    """Kills the process of a trial once, after its first rung."""

    def __init__(self) -> None:
        super().__init__()
        self.killed: list[int] = []

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        if not self.killed and result["training_iteration"] == 2:
            self.killed.append(result["pid"])
            os.kill(result["pid"], signal.SIGKILL)
        return TrialScheduler.CONTINUE


def searcher(study: Study, **options: Any) -> OptunaSearch:
    modes = ["max" if way == "maximize" else "min" for way in study.directions]
    return OptunaSearch(TuneSpace(study), metric=list(study.objectives), mode=modes, **options)


def fit(study: Study, folder: Path, *, failures: int = 0, **options: Any) -> tune.ResultGrid:
    return tune.Tuner(
        as_trainable(study, modules=BY_VALUE),
        param_space=options.pop("param_space", None),
        tune_config=tune.TuneConfig(reuse_actors=True, **options),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            checkpoint_config=tune.CheckpointConfig(
                checkpoint_frequency=1, checkpoint_at_end=True
            ),
            failure_config=tune.FailureConfig(max_failures=failures),
            verbose=0,
        ),
    ).fit()


def assert_same(results: tune.ResultGrid, calm: tuple[Path, list[TrialRow]]) -> None:
    """Scores of all trials and weights of those on the front are those of the calm run."""
    out, rows = calm
    assert len(results) == len(rows) and not results.errors
    by_point = {tuple(sorted(found.config.items())): found for found in results}
    for row in rows:
        found = by_point[tuple(sorted(row.params.items()))]
        assert found.metrics["status"] == "complete" and found.metrics["done"]
        assert found.metrics["step"] == 8 and found.metrics["words"] == row.words
        assert found.metrics["violation"] == 0 and found.metrics["reason"] == ""
        assert {name: found.metrics[name] for name in row.values} == row.values
        assert found.metrics["stored_bytes"] == row.stored_bytes
        assert found.metrics["train_step_s"] > 0
        kept = out / "checkpoints" / str(row.number)
        if kept.is_dir():
            ours = Path(found.checkpoint.path)
            assert (ours / HEAD).read_bytes() == (kept / HEAD).read_bytes()
            for tensors in (kept / MODULES).glob("*.safetensors"):
                assert (ours / MODULES / tensors.name).read_bytes() == tensors.read_bytes()


def test_scores_are_those_of_run_whatever_process_a_rung_is_trained_in(
    study: Study, calm: tuple[Path, list[TrialRow]], tmp_path: Path
) -> None:
    """Four trials in two processes, each paused at every rung."""
    points = [row.params for row in calm[1]]
    halved = dataclasses.replace(study, halving=Halving(2, 2))
    scheduler = Pausing()
    results = fit(
        halved,
        tmp_path,
        search_alg=searcher(halved, points_to_evaluate=points),
        num_samples=len(points),
        max_concurrent_trials=2,
        scheduler=scheduler,
    )
    assert_same(results, calm)
    assert len(scheduler.rows) == len(points)
    for rows in scheduler.rows.values():
        assert [row["step"] for row in rows] == [2, 4, 8]
        assert [row["training_iteration"] for row in rows] == [1, 2, 3]
        assert [row["done"] for row in rows] == [False, False, True]
        assert all(row.keys() >= set(study.objectives) for row in rows)
    assert len({found.metrics["pid"] for found in results}) <= 2


@pytest.mark.slow
def test_a_killed_process_costs_no_more_than_a_rung(
    study: Study, calm: tuple[Path, list[TrialRow]], tmp_path: Path
) -> None:
    points = [row.params for row in calm[1]]
    halved = dataclasses.replace(study, halving=Halving(2, 2))
    scheduler = Killing()
    results = fit(
        halved,
        tmp_path,
        failures=2,
        search_alg=searcher(halved, points_to_evaluate=points),
        num_samples=len(points),
        max_concurrent_trials=2,
        scheduler=scheduler,
    )
    assert len(scheduler.killed) == 1
    assert_same(results, calm)


def test_the_space_of_a_searcher(study: Study) -> None:
    """Conditional, kept with its pickle, with words and the budget in the Optuna study."""
    tight = dataclasses.replace(study, constraints=("trainable_parameters <= 500",))
    spaces = [TuneSpace(tight), pickle.loads(pickle.dumps(TuneSpace(tight)))]
    found = []
    for space in spaces:
        mine = optuna.create_study(
            directions=tight.directions, sampler=optuna.samplers.RandomSampler(seed=3)
        )
        for _ in range(20):
            space(mine.ask())
        found.append(mine.trials)
    assert [t.params for t in found[0]] == [t.params for t in found[1]]
    broken = [trial.constraints["feasible"] for trial in found[0]]
    assert set(broken) == {0.0, 1.0}
    assert all(trial.user_attrs["words"] for trial in found[0])
    assert len({frozenset(trial.params) for trial in found[0]}) > 1


@pytest.mark.slow  # the guide, docs/tune.md, does the like in the default tier
def test_asha_stops_trials_and_the_searcher_learns(study: Study, tmp_path: Path) -> None:
    halved = dataclasses.replace(study, halving=Halving(2, 2))
    storage = optuna.storages.InMemoryStorage()
    results = fit(
        halved,
        tmp_path,
        search_alg=searcher(halved, seed=1, storage=storage),
        num_samples=6,
        max_concurrent_trials=1,
        scheduler=ASHAScheduler(
            metric="accuracy",
            mode="max",
            time_attr="step",
            grace_period=2,
            max_t=8,
            reduction_factor=2,
        ),
    )
    assert not results.errors and len(results) == 6
    stopped = [one for one in results if one.metrics["status"] == "paused"]
    assert stopped and all(one.metrics["step"] in (2, 4) for one in stopped)
    assert len({one.metrics["pid"] for one in results}) == 1
    told = optuna.load_study(study_name="optuna", storage=storage).trials
    for trial in told:
        same = next(one for one in results if one.config == trial.params)
        assert trial.values == [same.metrics[name] for name in halved.objectives]


@pytest.fixture
def here(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes trainables in this process, which leave nothing in the home folder."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path))
    threads = torch.get_num_threads()

    def make(**changes: Any) -> type[tune.Trainable]:
        changed = dataclasses.replace(study, halving=Halving(2, 2), **changes)
        return as_trainable(changed, modules=BY_VALUE)

    yield make
    torch.set_num_threads(threads)


POINT = {"own_tune_lora": False, "bitfit": True, "recipe.learning_rate": 1e-2}


def test_what_is_not_trained_says_why(here: Callable[..., type[tune.Trainable]]) -> None:
    """Over budget or diverged, a trial reports a row, and its process goes on."""
    made = here(
        constraints=("trainable_parameters <= 500",),
        recipe=RECIPE.replace(learning_rate=Real(1e-3, 1e30, log=True)),
    )
    lora = {
        "own_tune_lora": True,
        "bitfit": False,
        "own_tune_lora.rank": 1,
        "own_tune_lora.targets.query": True,
        "own_tune_lora.targets.value": False,
        "recipe.learning_rate": 1e-2,
    }
    trial = made({**lora, "own_tune_lora.rank": 8})
    over = trial.train()
    assert trial.reset({**lora, "recipe.learning_rate": 1e30})
    failed = trial.train()
    assert trial.reset(dict(lora))
    trained = trial.train()
    trial.stop()
    assert (trained["status"], trained["step"], trained["done"]) == ("paused", 2, False)
    assert (over["status"], over["step"], over["done"]) == ("refused", 0, True)
    assert over["reason"].startswith("over budget: trainable_parameters is 1,536")
    assert failed["status"] == "failed" and failed["reason"].startswith("diverged")
    for row in (over, failed):
        assert row["violation"] >= 1 and row["accuracy"] == 0.0
        assert row["trainable_parameters"] > 20_000
        assert row.keys() == trained.keys()


def test_a_checkpoint_goes_on_with_its_own_config_alone(
    study: Study, here: Callable[..., type[tune.Trainable]], tmp_path: Path
) -> None:
    made = here()
    assert made.__name__ == study.name and issubclass(made, StudyTrainable)
    trial = made(dict(POINT))
    trial.save(str(tmp_path / "fresh"))  # before its first step
    assert trial.train()["step"] == 2
    trial.save(str(tmp_path / "first"))
    expected = [trial.train() for _ in range(2)]
    trial.save(str(tmp_path / "last"))
    assert [row["step"] for row in expected] == [4, 8]

    names = study.objectives
    for kept, steps in (("fresh", [2, 4, 8]), ("first", [4, 8]), ("last", [8])):
        assert trial.reset(dict(POINT))
        trial.restore(str(tmp_path / kept))
        rows = [trial.train() for _ in steps]
        assert [row["step"] for row in rows] == steps and rows[-1]["done"]
        assert [rows[-1][name] for name in names] == [expected[-1][name] for name in names]

    assert trial.reset({**POINT, "recipe.learning_rate": 2e-2})
    with pytest.raises(UsageError, match="goes on with the config and the study's seed"):
        trial.restore(str(tmp_path / "first"))
    trial.stop()
    assert not list(Path(trial.logdir).glob("trial*"))


def test_the_process_that_a_trial_left_does_not_touch_where_it_goes_on(
    here: Callable[..., type[tune.Trainable]], tmp_path: Path
) -> None:
    """On one machine Tune gives a trial one folder, in whatever process it runs."""
    made = here()
    first, second = made(dict(POINT)), made(dict(POINT))
    assert first.train()["step"] == 2
    first.save(str(tmp_path / "kept"))
    second._logdir = first.logdir
    assert second.reset_config(dict(POINT))
    second.restore(str(tmp_path / "kept"))
    first.stop()
    assert second.train()["step"] == 4
    second.stop()


def test_a_config_that_is_no_point_of_the_study(
    here: Callable[..., type[tune.Trainable]],
) -> None:
    """One sentence, before training; what is not active at a point may be there."""
    trial = here()({**POINT, "own_tune_lora.rank": 4, "own_tune_lora.targets.query": True})
    assert trial.train()["status"] == "paused"
    for change, words in (
        ({"bitfit": 3}, "bitfit must be one of False, True, got 3"),
        ({"recipe.learning_rate": 7.0}, "recipe.learning_rate must be drawn from"),
        ({"own_tune_lora": True}, "no value for own_tune_lora.rank"),
        ({"lora": True}, "lora is not active at this point; drop it"),
    ):
        assert trial.reset({**POINT, **change})
        with pytest.raises(UsageError, match=f"no point of the study: {words}"):
            trial.step()
    trial.stop()


def test_a_wrong_study_is_refused_before_ray_is_asked(study: Study) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        as_trainable(dataclasses.replace(study, backbone=Backbone(Path("nowhere"))))
