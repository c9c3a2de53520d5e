"""Samplers by name: Optuna's that take several objectives, and our own. Add one here."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from peftnas.search.errors import UsageError
from peftnas.search.objectives import COSTS, Objective
from peftnas.search.sampling.evolution import Evolution
from peftnas.search.sampling.surrogate import Surrogate
from peftnas.spaces.domains import Domain, Real

# Optuna's default of 50 is more than most studies here train in all
POPULATION = 20

STARTUP = 10
"""Trials before a model of the objectives is made."""


@dataclass(frozen=True)
class SamplerKind:
    """One sampler that a study can name.

    Attributes:
        build: makes it from the study's seed and from a seed of its own for this opening of the
            study; only what the storage continues (a QMC sequence) may use the first.
        finite: it needs domains with finitely many values, so no ``Real``.
        startup: so many trials it would draw at random before it has a model; a study whose
            objectives ask for cheap architectures spreads them over the trainable parameters.
        help: one line for the command line and the docs.
    """

    build: Callable[[int, int], BaseSampler]
    help: str
    finite: bool = False
    startup: int = 0


class _Exhaustive(BruteForceSampler):
    """Brute force for ask and tell.

    Optuna's own calls ``Study.stop`` when nothing is left, which raises outside of
    ``Study.optimize``; here the driver finds out that the space is exhausted.
    """

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        return None


class _GaussianProcess(GPSampler):
    """Gaussian processes, also while every training so far has failed.

    Optuna then divides zero by zero and takes its other way; numpy need not mention it.
    """

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        with np.errstate(invalid="ignore"):
            return super().sample_relative(study, trial, search_space)


def _tpe(seed: int, opening: int) -> BaseSampler:
    # with several objectives Optuna leaves multivariate off unless it is asked for
    return TPESampler(
        seed=opening,
        n_startup_trials=STARTUP,
        multivariate=True,
        group=True,
        constant_liar=True,
    )


def _gp(seed: int, opening: int) -> BaseSampler:
    return _GaussianProcess(
        seed=opening, n_startup_trials=STARTUP, warn_independent_sampling=False
    )


def _qmc(seed: int, opening: int) -> BaseSampler:
    # the storage counts how far the sequence of one seed has come, so that seed has to stay
    return QMCSampler(
        seed=seed,
        scramble=True,
        independent_sampler=RandomSampler(seed=opening),
        warn_independent_sampling=False,
    )


SAMPLERS: dict[str, SamplerKind] = {
    "tpe": SamplerKind(
        _tpe,
        "tree-structured Parzen estimators, multivariate; the default without halving",
        startup=STARTUP,
    ),
    "nsga2": SamplerKind(
        lambda seed, opening: NSGAIISampler(seed=opening, population_size=POPULATION),
        "evolution by NSGA-II, generations of 20",
    ),
    "nsga3": SamplerKind(
        lambda seed, opening: NSGAIIISampler(seed=opening, population_size=POPULATION),
        "evolution by NSGA-III, for three objectives and more",
    ),
    "gp": SamplerKind(
        _gp,
        "Gaussian processes; seconds a proposal, random where a space is conditional",
        startup=STARTUP,
    ),
    "qmc": SamplerKind(_qmc, "quasi-random; random where a space is conditional"),
    "evolution": SamplerKind(
        lambda seed, opening: Evolution(opening, STARTUP),
        "changed points of the front, less than a millisecond a proposal",
        startup=STARTUP,
    ),
    "surrogate": SamplerKind(
        lambda seed, opening: Surrogate(opening, STARTUP),
        "evolution by a model of all rungs; for halving, tens of milliseconds a proposal",
        startup=STARTUP,
    ),
    "random": SamplerKind(lambda seed, opening: RandomSampler(seed=opening), "uniformly random"),
    "bruteforce": SamplerKind(
        lambda seed, opening: _Exhaustive(seed=opening),
        "every point once in random order; no Real domains",
        finite=True,
    ),
}


def default_sampler(halving: bool) -> str:
    """The sampler of a study that names none.

    Args:
        halving: whether trials are stopped early.
    """
    return "surrogate" if halving else "tpe"


def check_sampler(name: str, domains: Iterable[tuple[str, Domain[object]]]) -> None:
    """Refuse a sampler that is not known or cannot take the study's domains.

    Args:
        domains: every dimension of the space and the recipe, as (path, domain).
    Raises:
        UsageError: naming the samplers there are, or the dimension that does not fit.
    """
    if name not in SAMPLERS:
        raise UsageError(f"sampler must be one of {', '.join(SAMPLERS)}, got {name!r}")
    if SAMPLERS[name].finite:
        for path, domain in domains:
            if isinstance(domain, Real):
                raise UsageError(
                    f"sampler {name!r} goes through every value and takes no Real, got {path} = "
                    f"{domain!r}; use a Choice or an Integer there, or another sampler"
                )


def make_sampler(name: str, seed: int, n_trials: int) -> BaseSampler:
    """The sampler ``name`` for a study that holds ``n_trials`` trials now.

    Its random numbers derive from the study's seed and from ``n_trials``: the same study gives the
    same sequence, and a study that is opened again does not repeat its first proposals.

    Args:
        name: a key of ``SAMPLERS``.
        seed: the study's seed.
        n_trials: trials in the study, of any state.
    """
    digest = hashlib.sha256(f"sampler/{seed}/{n_trials}".encode()).digest()
    opening = int.from_bytes(digest[:4], "big")
    with warnings.catch_warnings():
        # several of them carry Optuna's mark "experimental"; constraints.txt pins what was tested
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[name].build(seed, opening)


def startup_trials(name: str, objectives: Iterable[Objective]) -> int:
    """How many first trials of a study are spread over the trainable parameters; 0: none.

    Args:
        name: a key of ``SAMPLERS``.
        objectives: of the study.
    """
    wants_cheap = any(known.name in COSTS for known in objectives)
    return SAMPLERS[name].startup if wants_cheap else 0
