"""What every sampler must do, one line a sampler; and what was told is what is trained."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import optuna
import pytest

from peftnas.search import distributions
from peftnas.search.errors import UsageError
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.pareto import hypervolume
from peftnas.search.records import Records
from peftnas.search.sampling.samplers import SAMPLERS, check_sampler, make_sampler
from peftnas.spaces import Architecture, Real, SearchSpace
from tests.search.toys import (
    RECIPE,
    Exploration,
    ToyAnatomy,
    conditional_space,
    finite_space,
    records_in_memory,
    train,
)

ANATOMY = ToyAnatomy()


def space_for(sampler: str) -> tuple[SearchSpace, distributions.Recipe]:
    if SAMPLERS[sampler].finite:
        return finite_space(), distributions.Recipe()
    return conditional_space(max_parameters=150), RECIPE


def search(
    sampler: str, n: int, seed: int = 0, records: Records | None = None, fail_every: int = 0
) -> Records:
    """Propose and train until ``n`` trials were accepted; every so-many-th training fails."""
    space, recipe = space_for(sampler)
    if records is None:
        records = records_in_memory()
    ended = itertools.count()

    def end(job: TrialJob) -> TrialResult:
        if fail_every and next(ended) % fail_every == 0:
            return TrialResult("failed", cause="diverged", error="the loss is nan")
        return train(job)

    Exploration(records, space, recipe, sampler, seed=seed).run(n, end)
    return records


def params(records: Records) -> list[dict[str, object]]:
    return [trial.params for trial in records.trials()]


@pytest.mark.parametrize("sampler", SAMPLERS)
class TestEverySampler:
    def test_what_is_told_is_what_is_trained(self, sampler: str) -> None:
        space, recipe = space_for(sampler)
        bound = space.bind(ANATOMY)
        n = {"bruteforce": 12, "gp": 13}.get(sampler, 25)
        accepted = 0
        for trial in search(sampler, n, fail_every=5).trials():
            drawn = distributions.replay(bound, recipe, trial.params)
            for value in trial.params.values():
                assert type(value) in (bool, int, float, str, type(None))
            if trial.user_attrs.get("ready"):
                accepted += 1
                trained = Architecture.from_dict(trial.user_attrs["architecture"])
                assert bound.contains(trained), bound.why_not(trained)
                assert bound.canonical(drawn.architecture) == trained
                assert drawn.recipe.to_dict() == trial.user_attrs["recipe"]
        assert accepted == n

    def test_seeds(self, sampler: str) -> None:
        first = params(search(sampler, 6, seed=1))
        assert params(search(sampler, 6, seed=1)) == first
        assert params(search(sampler, 6, seed=2)) != first

    def test_reopened_it_does_not_repeat_its_first_proposals(self, sampler: str) -> None:
        records = search(sampler, 3)
        before = params(records)
        after = params(search(sampler, 3, records=records))[len(before) :]
        assert after != before[: len(after)]
        duplicates = [t for t in records.trials()[len(before) :] if t.state.name == "FAIL"]
        assert len(duplicates) <= 2

    def test_it_goes_on_when_only_failures_came_before(self, sampler: str) -> None:
        records = search(sampler, 12 if SAMPLERS[sampler].finite else 14, fail_every=1)
        assert not records.numbers("complete")
        assert records.study.best_trials == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "trials", "seeds"), [("tpe", 60, 5), ("nsga2", 200, 5), ("gp", 60, 2)]
)
def test_it_beats_random(sampler: str, trials: int, seeds: int) -> None:
    """By the front of a trade-off where a quarter of all trainings fail."""
    learnt, blind = (
        sum(_front_volume(name, seed, trials) for seed in range(seeds))
        for name in (sampler, "random")
    )
    assert learnt > blind


def _front_volume(sampler: str, seed: int, trials: int) -> float:
    """Volume in front of (score 0, size 64); the best rate is 0.01, above 0.02 all diverge."""
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=make_sampler(sampler, seed, 0)
    )
    points = []
    for _ in range(trials):
        trial = study.ask()
        rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
        size = trial.suggest_int("size", 1, 64, log=True)
        diverged = rate > 0.02
        trial.set_constraint("feasible", 1.0 if diverged else 0.0)
        score = max(0.0, 1.0 - abs(math.log10(rate / 0.01))) * size / (size + 4)
        study.tell(trial, [0.0, 64.0] if diverged else [score, float(size)])
        if not diverged and score > 0:
            points.append([-score, math.log(size) / math.log(64)])
    return hypervolume(np.array(points), np.array([0.0, 1.0]))


def test_unknown_names_and_domains_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="one of tpe, nsga2, .*, got 'cmaes'"):
        check_sampler("cmaes", [])
    with pytest.raises(UsageError, match=r"takes no Real, got recipe\.learning_rate"):
        check_sampler("bruteforce", [("recipe.learning_rate", Real(0.1, 1.0))])
    for name in SAMPLERS:
        check_sampler(name, [])


def test_brute_force_finds_every_architecture_and_then_says_so() -> None:
    records = search("bruteforce", 12)
    bound = finite_space().bind(ANATOMY)
    assert bound.size() == 12
    keys = [trial.user_attrs.get("train_key") for trial in records.trials()]
    assert len(set(keys) - {None}) == 12
    assert Exploration(records, bound, distributions.Recipe(), "bruteforce").next() is None


def test_qmc_continues_its_sequence() -> None:
    """A study in two halves covers the space like one in a single run."""
    random.seed(0)
    records = search("qmc", 8)
    search("qmc", 8, records=records)
    rates = [trial.params["recipe.learning_rate"] for trial in records.trials()]
    assert len(set(rates)) == len(rates)
