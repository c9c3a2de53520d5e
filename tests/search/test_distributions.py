"""A space and a recipe as Optuna parameters, and back."""

from __future__ import annotations

import math

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler

from peftnas.search import distributions
from peftnas.search.exhausted import enumerate_draws
from peftnas.search.recipe import Recipe
from peftnas.spaces import Choice, Integer, Real, SearchSpace
from tests.search.toys import (
    RECIPE,
    Knob,
    ToyAnatomy,
    conditional_space,
    finite_space,
)


def study_by(sampler: RandomSampler) -> optuna.Study:
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


BOUND = conditional_space().bind(ToyAnatomy())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_parameters_give_the_point_back(seed: int) -> None:
    study = study_by(RandomSampler(seed=seed))
    trial = study.ask()
    drawn = distributions.suggest(BOUND, RECIPE, trial)
    assert distributions.replay(BOUND, RECIPE, trial.params) == drawn
    assert BOUND.replay({k: v for k, v in drawn.values.items() if not k.startswith("recipe.")})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_a_chosen_point_is_enqueued_exactly(seed: int) -> None:
    source = study_by(RandomSampler(seed=seed)).ask()
    chosen = distributions.suggest(BOUND, RECIPE, source)
    known = {d.path: d.domain for d in distributions.dimensions(BOUND, RECIPE)}
    study = study_by(RandomSampler(seed=seed + 1))
    study.enqueue_trial(distributions.answers(chosen.values, known).parameters)
    assert distributions.suggest(BOUND, RECIPE, study.ask()) == chosen


def test_recipe_domains_have_paths_of_their_own() -> None:
    paths = [known.path for known in distributions.dimensions(BOUND, RECIPE)]
    assert paths[-2:] == ["recipe.learning_rate", "recipe.schedule"]
    assert len(set(paths)) == len(paths)


def test_options_that_python_takes_for_equal_stay_apart() -> None:
    space = SearchSpace(Knob(sharpness=Choice(1, 1.0, "learned", 0)))
    bound = space.bind(ToyAnatomy())
    seen = set()
    for seed in range(40):
        trial = study_by(RandomSampler(seed=seed)).ask()
        drawn = distributions.suggest(bound, Recipe(), trial)
        value = drawn.values["toy_knob.sharpness"]
        seen.add((type(value).__name__, value))
        assert repr(distributions.replay(bound, Recipe(), trial.params)) == repr(drawn)
    assert {name for name, _ in seen} == {"int", "float", "str"}


def test_parameters_of_another_space_are_refused() -> None:
    bound = finite_space().bind(ToyAnatomy())
    with pytest.raises(ValueError, match="no value for toy_knob.size"):
        distributions.replay(bound, Recipe(), {})
    params = {"toy_knob.size": 1, "toy_patch.targets.a": True, "toy_patch.targets.b": False}
    with pytest.raises(ValueError, match="other is not active"):
        distributions.replay(bound, Recipe(), params | {"other": 1})


def test_steps_and_logarithms_reach_optuna() -> None:
    space = SearchSpace(Knob(size=Integer(2, 10, step=4)))
    study = study_by(RandomSampler(seed=0))
    recipe = Recipe(learning_rate=Real(1e-5, 1e-1, log=True))
    for _ in range(30):
        distributions.suggest(space.bind(ToyAnatomy()), recipe, study.ask())
    trials = study.get_trials()
    assert {trial.params["toy_knob.size"] for trial in trials} == {2, 6, 10}
    logs = [math.log10(trial.params["recipe.learning_rate"]) for trial in trials]
    assert -4 < sum(logs) / len(logs) < -2


def test_enumeration_is_every_point_once() -> None:
    recipe = Recipe(schedule=Choice("linear", "cosine"))
    bound = finite_space().bind(ToyAnatomy())
    points = [tuple(draw.values.items()) for draw in enumerate_draws(bound, recipe)]
    assert len(points) == len(set(points)) == 2 * int(bound.raw_size())
