"""Methods with training settings of their own in a study: told is trained, twins are judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftnas.methods import Adapter, LoRA, describe
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.search import Recipe, RunSummary, Study, open_results, run_study
from peftnas.search.arms import arms_beside, own_values
from peftnas.search.backbone import Backbone
from peftnas.search.baselines import BASELINES
from peftnas.search.distributions import replay
from peftnas.search.jobs import TrialResult
from peftnas.search.plans import trial_key
from peftnas.search.report.table import table_html
from peftnas.search.seeds import derive_seed
from peftnas.search.storage import sqlite_url
from peftnas.search.trial.artifact import finished_result
from peftnas.spaces import Architecture, Choice, Integer, Maybe, Real, SearchSpace
from tests.search.test_runner import Trials
from tests.search.toys import Exploration, records_in_memory

RATES = Real(1e-3, 1e-1, log=True)
RECIPE = Recipe(steps=4, batch_size=8, max_length=32, evaluations=1)
BERT = describe(CONFIGS["bert"]())


@pytest.fixture
def study(bert: Backbone, good_or_bad: Any) -> Study:
    space = SearchSpace(
        LoRA(rank=Integer(1, 4), learning_rate=RATES, rate_warmup=Choice(0, 0.5)),
        Maybe(Adapter(bottleneck=4, learning_rate=RATES, weight_decay=0.1)),
    )
    return Study("arms", bert, good_or_bad(), space, recipe=RECIPE)


def test_told_is_trained(study: Study, tmp_path: Path) -> None:
    trials = Trials()
    summary: RunSummary = run_study(
        study, out=tmp_path, progress=False, make_pool=trials.pool, trials=3
    )
    assert summary.ok
    found = open_results(sqlite_url(tmp_path), "arms")
    bound = study.space.bind(describe(study.backbone.config()))
    jobs = {(job.number, job.key): job for job in trials.jobs}
    for row in found.finished:
        told = replay(bound, study.recipe, row.params)
        assert row.architecture == bound.canonical(told.architecture).to_dict()
        methods = {method["kind"]: method for method in row.architecture["methods"]}
        assert methods["lora"]["learning_rate"] == row.params["lora.learning_rate"]
        assert methods["lora"]["rate_warmup"] == row.params["lora.rate_warmup"]
        if "adapter" in methods:
            assert methods["adapter"]["learning_rate"] == row.params["adapter.learning_rate"]
            assert methods["adapter"]["weight_decay"] == 0.1
        key = trial_key(row.train_key, row.recipe, row.arms)
        assert jobs[row.number, key].architecture == row.architecture
        assert row.seed == derive_seed(study.seed, row.train_key, row.recipe, arms=row.arms)
        kept = tmp_path / "checkpoints" / str(row.number)
        if kept.exists():
            assert finished_result(kept, key) is not None
        assert "(lr " in row.words
    # the recipe's rate, which no method reads, is not theirs
    rates = {row.baseline: row.recipe["learning_rate"] for row in found.baselines}
    assert rates == {baseline.name: baseline.learning_rate for baseline in BASELINES}
    page = table_html(found)
    rate = found.finished[0].params["lora.learning_rate"]
    assert f"0.001; lora {rate:.3g}" in page


def test_another_rate_is_another_trial_and_the_same_is_a_duplicate() -> None:
    records = records_in_memory()
    space = SearchSpace(LoRA(rank=Choice(1, 2), learning_rate=Choice(1e-3, 1e-2, None)))
    exploration = Exploration(records, space.bind(BERT), RECIPE)
    plans = []
    while (work := exploration.next()) is not None:
        exploration.end(work, TrialResult("complete", metrics={"accuracy": 0.5}))
        plans.append(work.plan)
    # with the rate of the recipe it trains as without one
    assert len(plans) == 4 == len({plan.key for plan in plans}) == len({p.seed for p in plans})
    assert len({plan.train_key for plan in plans}) == 2
    refused = [t.user_attrs["reason"] for t in records.trials() if t.state.name == "FAIL"]
    assert refused and all(reason.startswith("duplicate of trial") for reason in refused)
    # a driver that goes on knows them
    assert Exploration(records, space.bind(BERT), RECIPE).next() is None


def test_keys_and_seeds_without_any_are_what_they_were() -> None:
    recipe = RECIPE.to_dict()
    assert trial_key("a", recipe) == trial_key("a", recipe, "")
    assert derive_seed(1, "a", recipe) == derive_seed(1, "a", recipe, arms="")
    assert arms_beside(Architecture(LoRA()), BERT, recipe) == ""
    assert trial_key("a", recipe, "b") != trial_key("a", recipe)


def test_what_the_recipe_says_anyway_is_nothing_of_its_own() -> None:
    recipe = RECIPE.to_dict() | {"learning_rate": 0.01, "warmup": 0.1}
    alike = Architecture(LoRA(learning_rate=0.01, rate_warmup=0.1))
    assert arms_beside(alike, BERT, recipe) == ""
    one = Architecture(LoRA(learning_rate=0.01, rate_warmup=0.2))
    other = Architecture(LoRA(rate_warmup=0.2))
    assert arms_beside(one, BERT, recipe) == arms_beside(other, BERT, recipe) != ""


def test_values_by_the_names_of_methods() -> None:
    architecture = Architecture(
        LoRA(rank=1), LoRA(rank=2, learning_rate=0.1), Adapter(rate_warmup=0.0)
    ).to_dict()
    assert own_values(architecture, "learning_rate") == {"lora2": 0.1}
    assert own_values(architecture, "warmup") == {"adapter": 0.0}
    assert own_values(architecture, "steps") == own_values(None, "warmup") == {}
