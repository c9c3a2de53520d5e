"""Evolution without generations: a random point of the front, with one or a few changes.

An ask reads nothing but the trials, costs well under a millisecond, and needs no batch to end:
made for short trials and many workers.

Source: steady-state evolution as in Real et al., Regularized Evolution for Image Classifier
Architecture Search, AAAI 2019; parents are the non-dominated trials instead of a tournament's
winner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from peftnas.search.pareto import minimised, ranks
from peftnas.search.sampling.variation import Params, Variation

PARENTS = 10
"""At least so many parents, from further fronts where the first is smaller."""
_RENEWED = 1.02


class Evolution(BaseSampler):
    """Mutates the front of all trials.

    Args:
        seed: of all random numbers.
        startup: so many trials are random first.
    """

    def __init__(self, seed: int, startup: int) -> None:
        self._startup = startup
        self._random = RandomSampler(seed=seed)
        self._variation = Variation(seed)
        self._parents: list[Params] = []
        self._learnt_at = 0
        self._known: dict[str, BaseDistribution] = {}

    def reseed_rng(self) -> None:
        """Other random numbers from here on."""
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Every parameter that was seen; empty while trials are random."""
        # a copy of the list, not of the trials
        trials = study.get_trials(deepcopy=False)
        if len(trials) >= _RENEWED * self._learnt_at:
            self._learn(study, trials)
        return dict(self._known)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A changed parent; its parameters that turn out inactive are not asked for."""
        if not search_space:
            return {}
        return self._legal(self._variation.offspring(self._parents), search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What the parent did not have: at random."""
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _learn(self, study: Study, trials: list[FrozenTrial]) -> None:
        """Parents: whole fronts of what is feasible, the best first, until there are enough."""
        done = [
            one
            for one in trials
            if one.state == TrialState.COMPLETE and all(v <= 0 for v in one.constraints.values())
        ]
        if len(done) < self._startup:
            return
        self._learnt_at = len(trials)
        directions = [direction.name.lower() for direction in study.directions]
        rank = ranks(minimised([one.values for one in done], directions))
        last = np.sort(rank)[min(PARENTS, len(rank)) - 1]
        parents = [one for one, level in zip(done, rank, strict=True) if level <= last]
        self._parents = [one.params for one in parents]
        self._variation.learn([(one.params, one.distributions) for one in done[-1000:]])
        self._known = {}
        for one in parents:
            self._known.update(one.distributions)

    @staticmethod
    def _legal(params: Params, space: Mapping[str, BaseDistribution]) -> Params:
        return {name: value for name, value in params.items() if name in space}
