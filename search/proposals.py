"""From ask to an accepted trial: canonical, new, within budget, or refused with the reason.

Everything here is used from one thread; ``asking.py`` owns it while a study runs. Trials are
called by *tickets*, since a proposal has no number in the study before it is started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftnas.search import distributions
from peftnas.search.constraints import Constraint
from peftnas.search.distributions import Answers, Draw
from peftnas.search.initial_design import InitialDesign
from peftnas.search.limits import Limits
from peftnas.search.planner import Planner
from peftnas.search.plans import Plan
from peftnas.search.predictions import Predicts
from peftnas.search.recipe import Recipe
from peftnas.search.sampling.view import SamplerView
from peftnas.search.seeds import child_seed
from peftnas.spaces.bound_space import BoundSpace

Array = NDArray[np.float64]

REFUSALS_IN_A_ROW = 5
"""After so many refused proposals of the sampler, a feasible draw of the space is trained."""


@dataclass(frozen=True)
class Refusal:
    """A proposal that is not trained.

    Attributes:
        answers: of the sampler.
        reason: one sentence.
        twin: ticket of the trial that it repeats; the reason is to be ended with its number.
    """

    answers: Answers
    reason: str
    twin: int | None = None


@dataclass(frozen=True)
class Proposal:
    """An accepted trial.

    Attributes:
        ticket: what the proposer calls it.
        plan: what to train.
        answers: what the study keeps of its point.
    """

    ticket: int
    plan: Plan
    answers: Answers


@dataclass(frozen=True)
class Found:
    """What one request gave.

    Attributes:
        proposal: ``None`` when the space holds no point that is left.
        refusals: before it.
        sampler: what the sampler has noted of the study by now, JSON values.
    """

    proposal: Proposal | None
    refusals: tuple[Refusal, ...] = ()
    sampler: Mapping[str, Any] = field(default_factory=dict)


class Proposer:
    """Asks a sampler for points until one is worth training.

    Args:
        view: what the sampler sees of the study.
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
        view: SamplerView,
        bound: BoundSpace,
        recipe: Recipe,
        constraints: Sequence[Constraint] = (),
        seed: int = 0,
        spread: int = 0,
        predictions: Predicts | None = None,
    ) -> None:
        self._view = view
        self._bound = bound
        self._recipe = recipe
        self._limits = Limits(bound, recipe, constraints, predictions)
        self._planner = Planner(bound, recipe, seed)
        self._seed = seed
        self._design = InitialDesign(bound, self._limits, seed, spread)
        self._seen: dict[str, int] = {}
        self._tickets = 0
        self._refused: list[Refusal] = []

    def go_on(self, sampler: Mapping[str, Any]) -> None:
        """Hand the sampler what it had noted of the study before, when all trials are known."""
        self._view.system_attrs = dict(sampler)

    def know(self, plan: Plan, answers: Answers, ticket: int | None = None) -> int:
        """Take in a trial that was not proposed here, such as one of an earlier run.

        Args:
            plan: of the trial.
            answers: of its point.
            ticket: below 0, what the caller calls it; by default it gets one as others do.
        Returns:
            Its ticket.
        """
        if ticket is None:
            ticket = self._ticket(plan)
        else:
            self._seen.setdefault(plan.key, ticket)
        self._view.add(
            ticket, answers.parameters, answers.distributions, answers.system_attributes
        )
        return ticket

    def tell(
        self,
        ticket: int,
        rung: int,
        values: Sequence[float] | None,
        constraints: Mapping[str, float],
    ) -> None:
        """Let the sampler know what a trial reached.

        Args:
            ticket: of the trial.
            rung: at which it was measured, counted from 0.
            values: in the order of the study's objectives; ``None``: it failed by its own fault.
            constraints: violations by key, met where <= 0.
        """
        self._view.tell(ticket, rung, values, constraints)

    def forget(self, ticket: int) -> None:
        """A trial is not trained after all, for no reason that the sampler should learn."""
        self._view.forget(ticket)

    def forecast(self, tickets: Sequence[int]) -> tuple[Array, Array]:
        """What trials are expected to reach at the top, from all that is known.

        Args:
            tickets: of the trials.
        Returns:
            Means and standard deviations, minimised, each of shape (n, objectives), on scales
            of the view's own.
        """
        return self._view.forecasts.of(tickets)

    def next(self) -> Found:
        """The next trial to train."""
        proposal = self._designed()
        for _ in range(REFUSALS_IN_A_ROW):
            proposal = proposal or self._ask()
        proposal = proposal or self._filler()
        refused, self._refused = tuple(self._refused), []
        return Found(proposal, refused, self._view.system_attrs)

    def _designed(self) -> Proposal | None:
        first = self._design.point(len(self._seen), self._trainable)
        return None if first is None else self._take(first)

    def _filler(self) -> Proposal | None:
        """A point that can be trained and was not; ``None`` when there is none, or when it is
        neither found at random nor among the first 20,000 points.
        """
        child = child_seed(self._seed, "filler", self._tickets)
        found = self._limits.find(child, self._new)
        return None if found is None else self._take(found)

    def _take(self, chosen: Draw) -> Proposal:
        """The trial of a point that can be trained and was not."""
        answers, plan = self._planner.answers(chosen), self._planner.plan(chosen)
        return Proposal(self.know(plan, answers), plan, answers)

    def _ask(self) -> Proposal | None:
        trial = self._view.ask()
        draw = distributions.suggest(self._bound, self._recipe, trial)
        answers = Answers(trial.params, trial.distributions)
        broken = self._limits.broken(draw)
        if broken is not None:
            self._view.refuse(trial, violation=1.0)
            self._refused.append(Refusal(answers, broken))
            return None
        plan = self._planner.plan(draw)
        twin = self._seen.get(plan.key)
        if twin is not None:
            self._view.refuse(trial)
            self._refused.append(Refusal(answers, "duplicate of trial", twin))
            return None
        ticket = self._ticket(plan)
        return Proposal(ticket, plan, Answers.of(self._view.accept(trial, ticket)))

    def _ticket(self, plan: Plan) -> int:
        ticket, self._tickets = self._tickets, self._tickets + 1
        self._seen.setdefault(plan.key, ticket)
        return ticket

    def _trainable(self, draw: Draw) -> bool:
        return self._new(draw) and self._limits.broken(draw) is None

    def _new(self, draw: Draw) -> bool:
        return self._planner.plan(draw).key not in self._seen
