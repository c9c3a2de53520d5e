"""study.objective in loops of Optuna's own: scores, refusals, failures, repetitions."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState

from peftnas.methods import BitFit, LoRA
from peftnas.search import OptunaObjective, Recipe, Study, UsageError, open_results, run_study
from peftnas.search.backbone import Backbone
from peftnas.search.halving import Halving
from peftnas.search.inline_pool import in_this_process
from peftnas.search.storage import sqlite_url
from peftnas.spaces import Choice, Integer, Maybe, Real, SearchSpace, Subset

SPACE = SearchSpace(
    Maybe(LoRA(rank=Integer(1, 8, log=True), targets=Subset("query", "value"))), Maybe(BitFit())
)
RECIPE = Recipe(
    steps=4, batch_size=8, max_length=32, evaluations=1, learning_rate=Real(1e-3, 1e-1, log=True)
)


@pytest.fixture
def study(bert: Backbone, good_or_bad: Any) -> Study:
    return Study("plain", bert, good_or_bad(), SPACE, RECIPE)


def created(study: Study, sampler: optuna.samplers.BaseSampler | None = None) -> optuna.Study:
    sampler = sampler or optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(sampler=sampler, directions=study.directions)


def test_values_are_those_of_run_study(study: Study, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run_study(
        study, out=tmp_path, trials=4, progress=False, baselines=False, make_pool=in_this_process
    )
    rows = open_results(sqlite_url(tmp_path), study.name).finished
    mine = created(study)
    for row in rows:
        mine.enqueue_trial(row.params)
    mine.optimize(study.objective, n_trials=len(rows))
    torch.set_num_threads(threads)
    for row, trial in zip(rows, mine.trials, strict=True):
        assert trial.state is TrialState.COMPLETE
        assert trial.values == list(row.values.values())
        kept = trial.user_attrs
        assert (kept["words"], kept["architecture"]) == (row.words, row.architecture)
        assert kept["recipe"] == row.recipe
        assert kept["result"]["losses"] == row.losses
        assert trial.constraints == {"feasible": 0.0}


def test_the_directions_are_those_of_the_objectives(study: Study) -> None:
    assert study.directions == ("maximize", "minimize")
    one = dataclasses.replace(study, objectives="trainable_parameters")
    assert one.directions == ("minimize",)
    mine = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(UsageError, match=r"directions must be \['maximize', 'minimize'\], got"):
        mine.optimize(study.objective, n_trials=1)
    assert "result" not in mine.trials[0].user_attrs


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_what_is_over_budget_is_pruned_with_the_reason(study: Study, sampler: str) -> None:
    tight = dataclasses.replace(study, constraints=("trainable_parameters <= 500",))
    makers: dict[str, optuna.samplers.BaseSampler] = {
        "tpe": optuna.samplers.TPESampler(n_startup_trials=3, constant_liar=True, seed=1),
        "nsga2": optuna.samplers.NSGAIISampler(population_size=4, seed=1),
    }
    mine = created(tight, makers[sampler])
    mine.optimize(tight.objective, n_trials=12)
    states = [trial.state for trial in mine.trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in mine.trials:
        if trial.state is TrialState.PRUNED:
            assert "over budget: trainable_parameters is" in trial.user_attrs["reason"]
            assert trial.constraints == {"feasible": 1.0}
            assert not trial.intermediate_values and "result" not in trial.user_attrs
        else:
            assert trial.values[1] <= 500
    assert {trial.state for trial in mine.best_trials} == {TrialState.COMPLETE}


def test_a_failed_training_is_complete_and_infeasible(study: Study) -> None:
    wild = dataclasses.replace(study, recipe=RECIPE.replace(learning_rate=1e30, weight_decay=0.0))
    mine = created(wild)
    mine.enqueue_trial({"lora": False, "bitfit": True})
    mine.optimize(wild.objective, n_trials=1)
    trial = mine.trials[0]
    parameters = wild.to_dict()["backbone"]["parameters"]
    assert trial.state is TrialState.COMPLETE and trial.values == [0.0, parameters]
    assert trial.constraints == {"feasible": 1.0} and mine.best_trials == []
    assert trial.user_attrs["reason"].startswith("diverged")


def test_the_same_training_is_done_once(bert: Backbone, good_or_bad: Any) -> None:
    """Also where it was written in another way: LoRA of rank 0 is none, whatever it is on."""
    space = SearchSpace(LoRA(rank=Choice(0, 2), targets=Subset("query", "value")))
    study = Study("twins", bert, good_or_bad(), space, RECIPE.replace(learning_rate=1e-2))
    mine = created(study)
    for rank, query in ((0, True), (0, False), (2, True), (2, False), (2, True)):
        mine.enqueue_trial(
            {"lora.rank": rank, "lora.targets.query": query, "lora.targets.value": True}
        )
    mine.optimize(study.objective, n_trials=5)
    twins = [trial.user_attrs.get("twin") for trial in mine.trials]
    assert twins == [None, 0, None, None, 2]
    assert mine.trials[0].values == mine.trials[1].values
    first, second = (mine.trials[i].user_attrs["result"] for i in (2, 4))
    assert first == second


def test_a_trial_is_trained_whole_with_halving_too(study: Study) -> None:
    halved = dataclasses.replace(study, halving=Halving(1, 2))
    mine = created(halved)
    mine.optimize(halved.objective, n_trials=1)
    assert mine.trials[0].user_attrs["result"]["step"] == 4


def test_threads_train_in_turn_and_a_finished_trial_again(study: Study) -> None:
    torch.set_num_threads(1)
    mine = created(study)
    mine.optimize(OptunaObjective(study), n_trials=6, n_jobs=3)
    for trial in mine.trials:
        assert list(study.objective(trial)) == trial.values


def test_a_study_travels_without_its_loaded_backbone(study: Study) -> None:
    from ray import cloudpickle  # the tiny task cannot be imported

    before = len(cloudpickle.dumps(study))
    point = {"lora": False, "bitfit": False, "recipe.learning_rate": 1e-2}
    values = study.objective(optuna.trial.FixedTrial(point))
    packed = cloudpickle.dumps(study)
    assert len(packed) < before + 1000
    again = cloudpickle.loads(packed)
    assert again == study and again.objective(optuna.trial.FixedTrial(point)) == values
