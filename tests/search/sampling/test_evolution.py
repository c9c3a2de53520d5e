"""New points from points that were seen, and the two samplers that make them."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import create_trial

from peftnas.search.sampling.evolution import Evolution
from peftnas.search.sampling.samplers import make_sampler
from peftnas.search.sampling.variation import Variation, drawn
from peftnas.search.sampling.view import SamplerView

DOMAINS: dict[str, BaseDistribution] = {
    "method": CategoricalDistribution(["lora", "prefix"]),
    "rank": IntDistribution(1, 64, log=True),
    "length": IntDistribution(2, 20, step=2),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
}
OF = {"lora": ("method", "rank", "rate"), "prefix": ("method", "length", "rate")}


def points(n: int) -> list[tuple[dict[str, Any], dict[str, BaseDistribution]]]:
    draw = random.Random(0)
    found = []
    for number in range(n):
        names = OF["lora" if number % 2 else "prefix"]
        params = {name: drawn(DOMAINS[name], draw) for name in names}
        params["method"] = "lora" if number % 2 else "prefix"
        found.append((params, {name: DOMAINS[name] for name in names}))
    return found


@pytest.mark.parametrize("distribution", DOMAINS.values(), ids=list(DOMAINS))
def test_drawn_values_are_in_their_domain_and_reach_its_ends(distribution: Any) -> None:
    draw = random.Random(0)
    values = [drawn(distribution, draw) for _ in range(3000)]
    assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
    if isinstance(distribution, IntDistribution):
        assert all(type(value) is int for value in values)
        assert {distribution.low, distribution.high} <= set(values)


def test_what_makes_a_parameter_active_is_learnt() -> None:
    variation = Variation(0)
    variation.learn(points(20))
    for _ in range(200):
        point = variation.completed({})
        assert {*point} == {*OF[point["method"]]}
    assert set(variation.completed({"method": "lora", "length": 4, "rate": 0.01})) == {*OF["lora"]}


def test_offspring_differ_from_their_parent_and_stay_in_their_domains() -> None:
    variation = Variation(0)
    variation.learn(points(20))
    parent = {"method": "lora", "rank": 64, "rate": 0.1}
    same = 0
    for _ in range(200):
        child = variation.offspring([parent])
        assert child.keys() == parent.keys()
        same += child == parent
        for name, value in child.items():
            assert DOMAINS[name]._contains(DOMAINS[name].to_internal_repr(value))
    assert same < 100, (
        "a step out of the domain ends at its edge, crossing with oneself changes nothing"
    )


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    method = trial.suggest_categorical("method", ["lora", "prefix"])
    size = (
        trial.suggest_int("rank", 1, 64, log=True)
        if method == "lora"
        else trial.suggest_int("length", 2, 20, step=2)
    )
    rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
    return {
        "size": float(size),
        "error": abs(rate - 0.01) * 5 + 1 / size + 0.1 * (method == "lora"),
    }


def test_evolution_serves_a_plain_study_of_optuna() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=Evolution(0, 10))
    for _ in range(60):
        trial = study.ask()
        found = suggest(trial)
        trial.set_constraint("small", found["size"] - 60)
        study.tell(trial, [found["error"], found["size"]])
    early, late = (
        [abs(t.params["rate"] - 0.01) for t in part]
        for part in (study.trials[:10], study.trials[40:])
    )
    assert sorted(late)[10] < sorted(early)[5]


def test_evolution_ignores_what_is_infeasible() -> None:
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=Evolution(0, 2))
    for number, (params, distributions) in enumerate(points(12)):
        study.add_trial(
            create_trial(
                params=params,
                distributions=distributions,
                values=[0.0, 0.0] if number % 2 else [1.0, float(number)],
                constraints={"feasible": 1.0 if number % 2 else 0.0},
            )
        )
    # only prefixes are feasible, so a proposal is one unless its method was changed
    methods = []
    for _ in range(40):
        trial = study.ask()
        suggest(trial)
        methods.append(trial.params["method"])
    assert methods.count("prefix") > 20


def test_parallel_proposals_of_the_surrogate_spread() -> None:
    view = SamplerView(
        make_sampler("surrogate", 0, 0), ("minimize", "minimize"), 2, exact=(False, True)
    )
    for number in range(12):
        trial = view.ask()
        found = suggest(trial)
        view.accept(trial, number)
        view.tell(number, 0, (found["error"] + 0.1, found["size"]))
        if number % 4 == 0:
            view.tell(number, 1, (found["error"], found["size"]))
    proposed = []
    for number in range(12, 18):
        trial = view.ask()
        suggest(trial)
        proposed.append(tuple(sorted(trial.params.items())))
        view.accept(trial, number)
    assert len(set(proposed)) == 6


def test_forecasts_of_a_view_look_through_noise_and_know_the_top() -> None:
    draw = random.Random(0)
    view = SamplerView(
        make_sampler("random", 0, 0), ("maximize", "minimize"), 2, exact=(False, True)
    )
    true = {}
    for number in range(40):
        trial = view.ask()
        found = suggest(trial)
        view.accept(trial, number)
        true[number] = 1 - found["error"]
        view.tell(number, 0, (true[number] / 2 + 0.05 * draw.gauss(0, 1), found["size"] * 1000))
        if number < 10:
            view.tell(number, 1, (true[number], found["size"] * 1000))
    mean, deviation = view.forecasts.of(range(40))
    assert mean.shape == deviation.shape == (40, 2)
    assert not deviation[:10].any() and not deviation[:, 1].any()
    order = sorted(range(10), key=lambda number: true[number])
    assert sorted(range(10), key=lambda number: -mean[number, 0]) == order, "minimised"
    late = sorted(range(10, 40), key=lambda number: true[number])
    assert mean[late[:8], 0].mean() > mean[late[-8:], 0].mean() + deviation[10:, 0].mean() / 2
    assert (mean[:, 1] >= 0).all() and (mean[:, 1] <= 1).all()
