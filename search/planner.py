"""From a point of a study to what is trained and what Optuna keeps of it."""

from __future__ import annotations

from peftnas.search import distributions
from peftnas.search.arms import arms_beside
from peftnas.search.distributions import Answers, Draw
from peftnas.search.plans import Plan
from peftnas.search.recipe import Recipe
from peftnas.search.seeds import derive_seed
from peftnas.spaces.bound_space import BoundSpace


class Planner:
    """Plans the trials of one study.

    Args:
        bound: the space on its backbone.
        recipe: holding values or domains.
        seed: of the study.
    """

    def __init__(self, bound: BoundSpace, recipe: Recipe, seed: int) -> None:
        self._bound, self._seed = bound, seed
        self._domains = {
            dimension.path: dimension.domain
            for dimension in distributions.dimensions(bound, recipe)
        }

    def plan(self, draw: Draw) -> Plan:
        """What to train for a point."""
        canonical = self._bound.canonical(draw.architecture)
        train_key = self._bound.train_key(canonical)
        recipe = draw.recipe.to_dict()
        arms = arms_beside(canonical, self._bound.anatomy, recipe)
        seed = derive_seed(self._seed, train_key, recipe, arms=arms)
        words = canonical.words()
        return Plan(canonical.to_dict(), recipe, train_key, seed, words, arms=arms)

    def answers(self, draw: Draw) -> Answers:
        """What the study keeps of a point that no sampler was asked for."""
        return distributions.answers(draw.values, self._domains)
