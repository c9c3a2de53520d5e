"""Which proposals are trained, which are refused, and what takes their place."""

from __future__ import annotations

import pytest
from optuna.samplers import PartialFixedSampler, RandomSampler

from peftnas.search.constraints import parse_constraint
from peftnas.search.proposals import REFUSALS_IN_A_ROW
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
from peftnas.search.storage import quiet_optuna
from peftnas.spaces import Architecture, Choice
from tests.search.toys import (
    RECIPE,
    Exploration,
    ToyAnatomy,
    conditional_space,
    finite_space,
    records_in_memory,
)


def reasons(records: Records) -> list[str]:
    return [trial.user_attrs["reason"] for trial in records.trials() if trial.state.name == "FAIL"]


def test_no_architecture_and_recipe_is_accepted_twice() -> None:
    records = records_in_memory()
    bound = finite_space().bind(ToyAnatomy())
    recipe = Recipe(schedule=Choice("linear", "cosine"))
    Exploration(records, bound, recipe).run(24)
    assert Exploration(records, bound, recipe).next() is None
    keys = {
        (trial.user_attrs["train_key"], trial.user_attrs["recipe"]["schedule"])
        for trial in records.trials()
        if "train_key" in trial.user_attrs
    }
    assert len(keys) == 24
    assert set(reasons(records)) and all(
        r.startswith("duplicate of trial") for r in reasons(records)
    )


def test_the_same_architecture_with_another_recipe_is_another_trial() -> None:
    records = records_in_memory()
    bound = finite_space().bind(ToyAnatomy())
    Exploration(records, bound, RECIPE).run(20)
    keys = [t.user_attrs["train_key"] for t in records.trials() if "train_key" in t.user_attrs]
    assert len(keys) == 20 > len(set(keys))


def test_over_budget_is_refused_and_costs_nothing() -> None:
    records = records_in_memory()
    bound = conditional_space(max_parameters=40).bind(ToyAnatomy())
    Exploration(records, bound, RECIPE).run(15)
    assert any(reason.startswith("over budget: ") for reason in reasons(records))
    for number in records.numbers("complete"):
        architecture = Architecture.from_dict(records.trials()[number].user_attrs["architecture"])
        assert bound.contains(architecture)


@pytest.mark.parametrize("text", ["trainable_parameters <= 30", "stored_bytes <= 120B"])
def test_constraints_on_exact_objectives_are_refused_before_training(text: str) -> None:
    records = records_in_memory()
    bound = conditional_space().bind(ToyAnatomy())
    Exploration(records, bound, constraints=[parse_constraint(text)], seed=1).run(10)
    assert all(records.trials()[number].values[1] <= 30 for number in records.numbers("complete"))
    assert any(text in reason for reason in reasons(records))


def test_after_some_refusals_a_feasible_point_takes_their_place() -> None:
    """A sampler that always says the same gets one trial accepted, then fillers."""
    bound = finite_space().bind(ToyAnatomy())
    fixed = {"toy_knob.size": 2, "toy_patch.targets.a": True, "toy_patch.targets.b": True}
    with quiet_optuna():
        sampler = PartialFixedSampler(fixed, RandomSampler(seed=0))
    exploration = Exploration(records_in_memory(), bound, Recipe(), sampler)
    assert exploration.run(1) == [0]
    assert exploration.run(2) == [
        1 + REFUSALS_IN_A_ROW,
        2 + 2 * REFUSALS_IN_A_ROW,
    ]
    assert exploration.intake.refused == 2 * REFUSALS_IN_A_ROW


def test_a_tight_budget_that_random_points_hardly_meet() -> None:
    records = records_in_memory()
    bound = conditional_space(max_parameters=2, at_least_one_method=True).bind(ToyAnatomy())
    Exploration(records, bound, RECIPE).run(3)
    for number in records.numbers("complete"):
        assert records.trials()[number].values[1] == 2
