"""What the untuned baselines train, and when they do not apply."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest

from peftnas.methods import LoRA
from peftnas.search import Backbone, Recipe
from peftnas.search.baselines import (
    BASELINES,
    BITFIT,
    FULL,
    HEAD_ONLY,
    LORA,
    baseline_recipe,
    plan_baseline,
)
from peftnas.search.plans import Plan
from peftnas.spaces import Architecture, Choice, Integer, Real, SearchSpace
from peftnas.spaces.bound_space import BoundSpace

RECIPE = Recipe(
    steps=70, learning_rate=Real(1e-5, 1e-1, log=True), schedule=Choice("cosine", "constant")
)


@pytest.fixture
def bound(bert: Backbone) -> BoundSpace:
    return SearchSpace(LoRA(rank=Integer(1, 4)), max_parameters=500).bind(bert.anatomy())


def test_a_searched_field_takes_the_documented_constant() -> None:
    rates = {baseline.name: baseline_recipe(RECIPE, baseline) for baseline in BASELINES}
    for baseline in BASELINES:
        recipe = rates[baseline.name]
        assert recipe.learning_rate == baseline.learning_rate
        assert (recipe.steps, recipe.schedule) == (70, "linear")
    fixed = baseline_recipe(Recipe(learning_rate=0.5), FULL)
    assert fixed.learning_rate == 0.5


def test_what_they_train_does_not_depend_on_the_space(bound: BoundSpace) -> None:
    counts = {}
    for baseline in BASELINES:
        plan = plan_baseline(baseline, bound, RECIPE, 0)
        assert isinstance(plan, Plan)
        assert plan.baseline == baseline.name
        counts[baseline] = bound.count(Architecture.from_dict(plan.architecture))
    assert counts[HEAD_ONLY] == 0
    assert counts[LORA] == 3 * 2 * 8 * (32 + 32)
    assert counts[FULL] == bound.anatomy.backbone_parameters
    assert 0 < counts[BITFIT] < counts[FULL]


def test_bitfit_trains_the_pooler_only_where_a_head_reads_it(bound: BoundSpace) -> None:
    for pooling, trained in (("mean", False), ("native", True)):
        plan = plan_baseline(BITFIT, bound, Recipe(pooling=pooling), 0)
        assert isinstance(plan, Plan)
        placements = bound.anatomy.place(Architecture.from_dict(plan.architecture))
        assert any(placement.site == "pooler" for placement in placements) is trained


def test_no_biases_no_bitfit(llama: Backbone) -> None:
    bound = SearchSpace(LoRA(rank=1)).bind(llama.anatomy())
    reason = plan_baseline(BITFIT, bound, RECIPE, 0)
    assert isinstance(reason, str) and "does not apply" in reason


def test_full_fine_tuning_needs_memory(bound: BoundSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(available=16 * bound.anatomy.backbone_parameters)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert isinstance(plan_baseline(FULL, bound, RECIPE, 0), Plan)
    memory.available -= 1
    reason = plan_baseline(FULL, bound, RECIPE, 0)
    assert isinstance(reason, str) and reason.startswith("does not fit")
    assert isinstance(plan_baseline(LORA, bound, RECIPE, 0), Plan)
