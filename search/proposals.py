"""From ask to an accepted trial: canonical, new, within budget, or refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import Trial

from peftnas.search import distributions
from peftnas.search.arms import arms_beside
from peftnas.search.constraints import Constraint
from peftnas.search.distributions import Draw
from peftnas.search.initial_design import InitialDesign
from peftnas.search.limits import Limits
from peftnas.search.predictions import Predicts
from peftnas.search.recipe import Recipe
from peftnas.search.records import Plan, Records, outcome, plan_of
from peftnas.search.seeds import child_seed, derive_seed
from peftnas.spaces.bound_space import BoundSpace

REFUSALS_IN_A_ROW = 5
"""After so many refused proposals of the sampler, a feasible draw of the space is trained."""


@dataclass(frozen=True)
class Proposal:
    """An accepted trial."""

    number: int
    plan: Plan


class Proposer:
    """Asks the study for points until one is worth training.

    Args:
        records: of the study.
        bound: the space on its backbone.
        recipe: holding values or domains.
        constraints: of the study, besides the space's own.
        seed: of the study.
        spread: so many first trials are spread over the trainable parameters instead of asked
            from the sampler; see ``initial_design.py``.
        predictions: of what a trial will take.
    """

    def __init__(
        self,
        records: Records,
        bound: BoundSpace,
        recipe: Recipe,
        constraints: Sequence[Constraint] = (),
        seed: int = 0,
        spread: int = 0,
        predictions: Predicts | None = None,
    ) -> None:
        self.refused = 0
        self._records = records
        self._bound = bound
        self._recipe = recipe
        self._limits = Limits(bound, recipe, constraints, predictions)
        self._seed = seed
        self._design = InitialDesign(bound, self._limits, seed, spread)
        self._domains = {
            dimension.path: dimension.domain
            for dimension in distributions.dimensions(bound, recipe)
        }
        self._seen: dict[str, int] = {}
        for trial in records.trials():
            plan = plan_of(trial)
            if plan is not None and outcome(trial) != "refused":
                self._seen[plan.key] = trial.number

    def next(self) -> Proposal | None:
        """The next trial to train; ``None`` when the space holds no point that is left."""
        first = self._design.point(len(self._seen), self._trainable)
        if first is not None:
            return self._take(first)
        for _ in range(REFUSALS_IN_A_ROW):
            proposal = self._ask()
            if proposal is not None:
                return proposal
        filler = self._unseen()
        return None if filler is None else self._take(filler)

    def _take(self, chosen: Draw) -> Proposal:
        """The trial of a point that can be trained and was not."""
        parameters = distributions.parameters(chosen.values, self._domains)
        self._records.study.enqueue_trial(parameters)
        # what an earlier driver enqueued, and died before it asked, comes first
        while (proposal := self._ask()) is None:
            pass
        return proposal

    def _ask(self) -> Proposal | None:
        trial = self._records.study.ask()
        draw = distributions.suggest(self._bound, self._recipe, trial)
        reason = self._limits.broken(draw)
        if reason is None:
            plan = self._plan(draw)
            twin = self._seen.get(plan.key)
            if twin is None:
                return self._accept(trial, plan)
            reason = f"duplicate of trial {twin}"
        self._records.refuse(trial.number, reason)
        self.refused += 1
        return None

    def _accept(self, trial: Trial, plan: Plan) -> Proposal:
        self._records.accept(trial, plan)
        self._seen[plan.key] = trial.number
        return Proposal(trial.number, plan)

    def _plan(self, draw: Draw) -> Plan:
        canonical = self._bound.canonical(draw.architecture)
        train_key = self._bound.train_key(canonical)
        recipe = draw.recipe.to_dict()
        arms = arms_beside(canonical, self._bound.anatomy, recipe)
        seed = derive_seed(self._seed, train_key, recipe, arms=arms)
        words = canonical.words()
        return Plan(canonical.to_dict(), recipe, train_key, seed, words, arms=arms)

    def _unseen(self) -> Draw | None:
        """A point that can be trained and was not; ``None`` when there is none, or when it is
        neither found at random nor among the first 20,000 points.
        """
        child = child_seed(self._seed, "filler", len(self._records.trials()))
        return self._limits.find(child, self._new)

    def _trainable(self, draw: Draw) -> bool:
        return self._new(draw) and self._limits.broken(draw) is None

    def _new(self, draw: Draw) -> bool:
        return self._plan(draw).key not in self._seen
