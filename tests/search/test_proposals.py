"""Which proposals are trained, which are refused, and what takes their place."""

from __future__ import annotations

import pytest
from optuna.samplers import PartialFixedSampler, RandomSampler

from peftnas.search.constraints import parse_constraint
from peftnas.search.proposals import REFUSALS_IN_A_ROW, Proposer
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
from peftnas.search.storage import quiet_optuna
from peftnas.spaces import Architecture, Choice
from tests.search.toys import (
    RECIPE,
    ToyAnatomy,
    conditional_space,
    finite_space,
    records_in_memory,
    train,
)


def accept(proposer: Proposer, records: Records, n: int) -> list[int]:
    numbers = []
    for _ in range(n):
        proposal = proposer.next()
        assert proposal is not None
        records.tell(proposal.number, train(proposal.plan.job(proposal.number, "")))
        numbers.append(proposal.number)
    return numbers


def reasons(records: Records) -> list[str]:
    return [trial.user_attrs["reason"] for trial in records.trials() if trial.state.name == "FAIL"]


def test_no_architecture_and_recipe_is_accepted_twice() -> None:
    records = records_in_memory(RandomSampler(seed=0))
    bound = finite_space().bind(ToyAnatomy())
    recipe = Recipe(schedule=Choice("linear", "cosine"))
    accept(Proposer(records, bound, recipe), records, 24)
    assert Proposer(records, bound, recipe).next() is None
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
    records = records_in_memory(RandomSampler(seed=0))
    bound = finite_space().bind(ToyAnatomy())
    accept(Proposer(records, bound, RECIPE), records, 20)
    keys = [t.user_attrs["train_key"] for t in records.trials() if "train_key" in t.user_attrs]
    assert len(keys) == 20 > len(set(keys))


def test_over_budget_is_refused_and_costs_nothing() -> None:
    records = records_in_memory(RandomSampler(seed=0))
    bound = conditional_space(max_parameters=40).bind(ToyAnatomy())
    accept(Proposer(records, bound, RECIPE), records, 15)
    assert any(reason.startswith("over budget: ") for reason in reasons(records))
    for number in records.numbers("complete"):
        architecture = Architecture.from_dict(records.trials()[number].user_attrs["architecture"])
        assert bound.contains(architecture)


@pytest.mark.parametrize("text", ["trainable_parameters <= 30", "stored_bytes <= 120B"])
def test_constraints_on_exact_objectives_are_refused_before_training(text: str) -> None:
    records = records_in_memory(RandomSampler(seed=1))
    bound = conditional_space().bind(ToyAnatomy())
    proposer = Proposer(records, bound, RECIPE, [parse_constraint(text)])
    accept(proposer, records, 10)
    assert all(records.trials()[number].values[1] <= 30 for number in records.numbers("complete"))
    assert any(text in reason for reason in reasons(records))


def test_after_some_refusals_a_feasible_point_takes_their_place() -> None:
    """A sampler that always says the same gets one trial accepted, then fillers."""
    bound = finite_space().bind(ToyAnatomy())
    fixed = {"toy_knob.size": 2, "toy_patch.targets.a": True, "toy_patch.targets.b": True}
    with quiet_optuna():
        sampler = PartialFixedSampler(fixed, RandomSampler(seed=0))
    records = records_in_memory(sampler)
    proposer = Proposer(records, bound, Recipe())
    assert accept(proposer, records, 1) == [0]
    assert accept(proposer, records, 2) == [
        1 + REFUSALS_IN_A_ROW,
        2 + 2 * REFUSALS_IN_A_ROW,
    ]
    assert proposer.refused == 2 * REFUSALS_IN_A_ROW


def test_a_tight_budget_that_random_points_hardly_meet() -> None:
    records = records_in_memory(RandomSampler(seed=0))
    bound = conditional_space(max_parameters=2, at_least_one_method=True).bind(ToyAnatomy())
    accept(Proposer(records, bound, RECIPE), records, 3)
    for number in records.numbers("complete"):
        assert records.trials()[number].values[1] == 2


def test_what_an_earlier_driver_enqueued_is_used_first() -> None:
    records = records_in_memory(RandomSampler(seed=0))
    records.study.enqueue_trial({"toy_knob.size": 3})
    proposal = Proposer(records, finite_space().bind(ToyAnatomy()), Recipe()).next()
    assert proposal is not None and proposal.number == 0
    assert records.trials()[0].params["toy_knob.size"] == 3
