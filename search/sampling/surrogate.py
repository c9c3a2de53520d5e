"""Evolution that a model looks at first: of many offspring, the one expected to add most.

Candidates are changed points of the predicted front and points drawn from all that was seen; the
view's forecasts say what each would show at the top rung, with how much doubt. The one with the
largest expected gain of hypervolume is proposed, over the front of what all trials are predicted
to reach, those under way included, so that parallel asks spread.

Source: expected hypervolume improvement; Emmerich et al., Single- and Multi-objective Evolutionary
Optimization Assisted by Gaussian Random Field Metamodels, IEEE TEVC 2006.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from peftnas.search.pareto import non_dominated
from peftnas.search.sampling.evolution import Evolution
from peftnas.search.sampling.gain import ExpectedGain
from peftnas.search.sampling.variation import Params
from peftnas.search.sampling.view import SamplerView
from peftnas.search.sampling.watches import Watches

CANDIDATES = 600
_FRESH = 1 / 3
"""The part of the candidates that has no parent."""
_MARGIN = 0.1
"""How far beyond the worst values the reference lies, in units."""


class Surrogate(Evolution, Watches):
    """Proposes by expected gain; works on a :class:`SamplerView` only.

    Args:
        seed: of all random numbers.
        startup: so many trials are random first.
    """

    def __init__(self, seed: int, startup: int) -> None:
        super().__init__(seed, startup)
        self._draw = np.random.default_rng(seed)
        self._view: SamplerView | None = None

    def watch(self, view: SamplerView) -> None:
        """Learn from this view."""
        self._view = view

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The best of many candidates."""
        if not search_space or self._view is None or not self._view.forecasts.ready:
            return super().sample_relative(study, trial, search_space)
        forecasts, numbers = self._view.forecasts, list(self._view.seen)
        there, _ = forecasts.of(numbers)
        front = [
            number for number, best in zip(numbers, non_dominated(there), strict=True) if best
        ]
        candidates = self._candidates(self._view, front)
        if not candidates:
            return super().sample_relative(study, trial, search_space)
        mean, deviation = forecasts.of_points(candidates)
        low, high = there.min(axis=0) - _MARGIN, there.max(axis=0) + _MARGIN
        gain = ExpectedGain(there, low, high, seed=int(self._draw.integers(2**31)))
        best = candidates[int(np.argmax(gain(mean, deviation)))]
        return self._legal(best, search_space)

    def _candidates(self, view: SamplerView, front: list[int]) -> list[Params]:
        """Different points that were not tried; parents are the trials of the front."""
        parents = [view.seen[number].params for number in front]
        found = {_key(seen.params) for seen in view.seen.values()}
        candidates = []
        for number in range(CANDIDATES):
            fresh = number < _FRESH * CANDIDATES
            child = {} if fresh else self._variation.offspring(parents)
            point = self._variation.completed(child)
            key = _key(point)
            if key not in found:
                found.add(key)
                candidates.append(point)
        return candidates


def _key(params: Params) -> frozenset[Any]:
    return frozenset(params.items())
