"""Enqueue: have an architecture trained next, chosen by hand or on the front of another study."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from peftnas.search.distributions import RECIPE, Draw
from peftnas.search.errors import UsageError, about
from peftnas.search.limits import Limits
from peftnas.search.outcomes import outcome
from peftnas.search.planner import Planner
from peftnas.search.plans import plan_of
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
from peftnas.search.storage import open_study, open_to_write
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.tree import Ask, Primitive, draw_fields

if TYPE_CHECKING:
    from peftnas.search.preflight import Prepared

_UNKNOWN = object()


class Wanted:
    """Makes trials of chosen architectures.

    Args:
        prepared: the checked study that is to train them.
    """

    def __init__(self, prepared: Prepared) -> None:
        study = prepared.study
        self._bound, self._recipe = prepared.bound, study.recipe
        self._limits = Limits(
            prepared.bound, study.recipe, prepared.constraints, prepared.predictions
        )
        self._planner = Planner(prepared.bound, study.recipe, study.seed)

    def draw(
        self,
        architecture: Architecture,
        suggested: Mapping[str, Any] | None = None,
        required: Mapping[str, Any] | None = None,
    ) -> Draw:
        """The point of the study that trains an architecture.

        Args:
            architecture: of the study's space, in any spelling.
            suggested: values of the recipe's fields by name, taken where the study searches the
                field and holds the value; otherwise it is the middle of the domain, or its first
                choice.
            required: the same, and refused where the study does not hold them.
        Raises:
            UsageError: if the space does not hold the architecture, or the recipe a required
                value, or the point is over a limit of the study.
        """
        with about("architecture"):
            why_not = self._bound.why_not(architecture)
            point = None if why_not else self._bound.find(architecture)
        if point is None:
            raise UsageError(
                f"an architecture must be of the study's space to be enqueued: {why_not}; "
                "widen the space, or choose another"
            )
        hopes, musts = dict(suggested or {}), dict(required or {})

        def choose(path: str, domain: Ask) -> Primitive:
            name = path.removeprefix(f"{RECIPE}.").split(".")[0]
            for values in (musts, hopes):
                value = values.get(name)
                if name in values and value in domain:
                    musts.pop(name, None)
                    taken: Primitive = value
                    return taken
            return _middle(domain)

        drawn, recipe = draw_fields(self._recipe, RECIPE, choose)
        for name, value in musts.items():
            if getattr(recipe, name, _UNKNOWN) != value:
                held = getattr(self._recipe, name, "no such field")
                raise UsageError(
                    f"{RECIPE}.{name} must be of what the study holds, {held!r}, got {value!r}; "
                    "leave it out"
                )
        draw = Draw({**point.values, **drawn}, point.architecture, cast(Recipe, recipe))
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


def in_study(prepared: Prepared, storage_url: str) -> Records:
    """The records of the study to enqueue into, which some process may be running.

    Args:
        prepared: the checked study.
        storage_url: where it is stored, or will be.
    Raises:
        UsageError: if the study is stored with other content.
    """
    study = open_study(
        open_to_write(storage_url),
        prepared.study.name,
        directions=[goal.direction for goal in prepared.objectives],
        content=prepared.content,
    )
    parameters = prepared.bound.anatomy.backbone_parameters
    return Records(study, prepared.objectives, parameters, prepared.constraints)


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
