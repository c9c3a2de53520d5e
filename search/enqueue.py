"""Enqueue: have an architecture trained next, chosen by hand or on the front of another study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from peftnas.search.constraints import Constraint
from peftnas.search.distributions import RECIPE, Draw
from peftnas.search.errors import UsageError
from peftnas.search.limits import Limits
from peftnas.search.outcomes import outcome
from peftnas.search.planner import Planner
from peftnas.search.plans import plan_of
from peftnas.search.predictions import Predicts
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.tree import Ask, Primitive, draw_fields


class Wanted:
    """Makes trials of chosen architectures.

    Args:
        bound: the space of the study on its backbone.
        recipe: of the study, holding values or domains.
        constraints: of the study.
        seed: of the study.
        predictions: of what a trial will take.
    """

    def __init__(
        self,
        bound: BoundSpace,
        recipe: Recipe,
        constraints: Sequence[Constraint],
        seed: int,
        predictions: Predicts | None = None,
    ) -> None:
        self._bound, self._recipe = bound, recipe
        self._limits = Limits(bound, recipe, constraints, predictions)
        self._planner = Planner(bound, recipe, seed)

    def draw(self, architecture: Architecture, values: Mapping[str, Any] | None = None) -> Draw:
        """The point of the study that trains an architecture.

        Args:
            architecture: of the study's space, in any spelling.
            values: of the recipe's fields, by name; a field with a domain that is left out takes
                the middle of it, or its first choice.
        Raises:
            UsageError: if the space does not hold the architecture, or the recipe a value, or the
                point is over a limit of the study.
        """
        given = dict(values or {})
        try:
            why_not = self._bound.why_not(architecture)
            point = None if why_not else self._bound.find(architecture)
        except ValueError as error:
            raise UsageError(str(error)) from error
        if point is None:
            raise UsageError(
                f"an architecture must be of the study's space to be enqueued: {why_not}; "
                "widen the space, or choose another"
            )

        def choose(path: str, domain: Ask) -> Primitive:
            name = path.removeprefix(f"{RECIPE}.").split(".")[0]
            if name not in given:
                return _middle(domain)
            if given[name] not in domain:
                raise UsageError(
                    f"{RECIPE}.{name} must be of {domain!r}, got {given[name]!r}; leave it out "
                    "to take the middle"
                )
            value: Primitive = given[name]
            return value

        drawn, recipe = draw_fields(self._recipe, RECIPE, choose)
        draw = Draw({**point.values, **drawn}, point.architecture, recipe)  # type: ignore[arg-type]
        broken = self._limits.broken(draw)
        if broken is not None:
            raise UsageError(f"the architecture cannot be enqueued: {broken}; choose another")
        return draw

    def enqueue(self, records: Records, draw: Draw) -> int:
        """Write the trial of a point into the study; its number.

        Raises:
            UsageError: if the study has that trial already, naming it.
        """
        plan = self._planner.plan(draw)
        for trial in records.trials():
            known = plan_of(trial)
            if known is not None and known.key == plan.key and outcome(trial) != "refused":
                raise UsageError(
                    f"trial {trial.number} of the study is this architecture with this recipe "
                    f"already ({outcome(trial)}); change the recipe, or choose another"
                )
        return records.enqueue(plan, self._planner.answers(draw))


def architectures_on_front(study: optuna.Study) -> list[tuple[Architecture, dict[str, Any]]]:
    """The architectures on the front of a stored study, with their recipes."""
    plans = [plan_of(trial) for trial in study.best_trials]
    return [(Architecture.from_dict(plan.architecture), plan.recipe) for plan in plans if plan]


def _middle(domain: Ask) -> Primitive:
    match domain:
        case Real(low, high, log):
            return math.sqrt(low * high) if log else (low + high) / 2
        case Integer(low, high, log, step):
            middle = round(math.sqrt(low * high)) if log else (low + high) // 2
            return low + (middle - low) // step * step
    assert isinstance(domain, Choice)
    first: Primitive = domain.options[0]
    return first
