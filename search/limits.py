"""What may be trained at all: the budget of the space, constraints on exact objectives."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

from peftnas.search import distributions
from peftnas.search.distributions import Draw
from peftnas.search.errors import UsageError
from peftnas.search.exhausted import enumerate_draws
from peftnas.search.objectives import Constraint, costs
from peftnas.search.recipe import Recipe
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.choosers import uniform

if TYPE_CHECKING:
    from peftnas.methods.base import Placement

_RANDOM_TRIES = 300
_ENUMERATED = 20_000


class Limits:
    """The limits of a study, known before training.

    Args:
        bound: the space on its backbone, with its own budget.
        recipe: holding values or domains.
        constraints: on exact objectives.
    """

    def __init__(
        self, bound: BoundSpace, recipe: Recipe, constraints: Sequence[Constraint] = ()
    ) -> None:
        self._bound = bound
        self._recipe = recipe
        self._constraints = tuple(constraints)

    def broken(self, draw: Draw) -> str | None:
        """Why the point may not be trained, in one sentence; ``None`` when it may."""
        broken = self._bound.broken_constraint(draw.architecture)
        if broken is not None:
            return f"over budget: {broken}"
        if not self._constraints:
            return None
        placed = self._bound.placed(draw.architecture)
        parts = cast("tuple[Placement, ...]", placed.placements)
        stored = sum(part.stored_bytes() for part in parts)
        exact = costs(placed.count, stored, self._bound.anatomy.backbone_parameters)
        for constraint in self._constraints:
            broken = constraint.broken(exact)
            if broken is not None:
                return f"over budget: {broken}"
        return None

    def candidates(self, seed: int) -> Iterator[Draw]:
        """Points to look through for one that fits: random, then the first 20,000 in order."""
        choose = uniform(random.Random(seed))
        for _ in range(_RANDOM_TRIES):
            yield distributions.draw(self._bound, self._recipe, choose)
        # under a tight budget random points hardly ever meet it; this one does
        feasible = self._bound.find(self._bound.sample(seed))
        kept = feasible.values if feasible is not None else {}
        for _ in range(_RANDOM_TRIES):
            yield distributions.draw(
                self._bound,
                self._recipe,
                lambda path, domain: kept[path] if path in kept else choose(path, domain),
            )
        yield from islice(enumerate_draws(self._bound, self._recipe), _ENUMERATED)

    def check_feasible(self) -> None:
        """Look for a point that meets all limits.

        Raises:
            UsageError: if none is found.
        """
        self._bound.check_feasible()
        if self._constraints and all(map(self.broken, self.candidates(0))):
            texts = ", ".join(constraint.text for constraint in self._constraints)
            raise UsageError(
                f"no architecture of the space was found that meets {texts}; loosen a constraint "
                "or widen the space"
            )
