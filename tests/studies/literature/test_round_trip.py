"""Optuna's parameters of our own recommended space, and back: nothing is lost on the way."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from transformers import BertConfig

from peftnas.methods import describe
from peftnas.search import distributions
from peftnas.search.recipe import Recipe
from peftnas.search.sampling.samplers import SAMPLERS, make_sampler
from peftnas.spaces import Real
from peftnas.spaces.bound_space import BoundSpace
from peftnas.studies.literature.peftnas_default import peftnas_default

RECIPE = Recipe(learning_rate=Real(1e-4, 1e-2, log=True))
NAMES = Path(__file__).with_name("default_names.json")


@pytest.fixture(scope="module")
def bound() -> BoundSpace:
    return peftnas_default().bind(describe(BertConfig(num_hidden_layers=6, hidden_size=384)))


def _told_is_trained(bound: BoundSpace, sampler: optuna.samplers.BaseSampler, n: int) -> None:
    known = {d.path: d.domain for d in distributions.dimensions(bound, RECIPE)}
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(n):
        trial = study.ask()
        drawn = distributions.suggest(bound, RECIPE, trial)
        assert trial.params.keys() <= known.keys()
        assert all(value in known[path] for path, value in drawn.values.items())
        assert distributions.replay(bound, RECIPE, trial.params) == drawn
        count = bound.count(drawn.architecture)
        study.tell(trial, [1 / (1 + count), float(count)])


def test_random_points(bound: BoundSpace) -> None:
    _told_is_trained(bound, RandomSampler(seed=0), 500)


@pytest.mark.slow
def test_many_random_points(bound: BoundSpace) -> None:
    _told_is_trained(bound, RandomSampler(seed=1), 10_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in SAMPLERS.items() if not kind.finite])
def test_points_of_every_sampler(bound: BoundSpace, name: str) -> None:
    _told_is_trained(bound, make_sampler(name, 0, 0), 200)


def test_names_are_stable(bound: BoundSpace) -> None:
    """Stored studies hold these; a change here is a change of their format.

    Written by ``python -m tests.studies.literature.test_round_trip``.
    """
    names = [dimension.path for dimension in distributions.dimensions(bound, RECIPE)]
    assert names == json.loads(NAMES.read_text())


if __name__ == "__main__":
    space = peftnas_default().bind(describe(BertConfig(num_hidden_layers=6, hidden_size=384)))
    paths = [dimension.path for dimension in distributions.dimensions(space, RECIPE)]
    NAMES.write_text(json.dumps(paths, indent=1) + "\n")
