"""What may be trained at all: the budget of the space, constraints on what is known before."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, cast

from peftnas.search import distributions
from peftnas.search.constraints import Constraint
from peftnas.search.distributions import Draw
from peftnas.search.errors import UsageError
from peftnas.search.exhausted import enumerate_draws
from peftnas.search.objectives import costs
from peftnas.search.predictions import Predicts
from peftnas.search.recipe import Recipe
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.choosers import at_random

if TYPE_CHECKING:
    from peftnas.methods.base import Placement

_UNTRAINABLE = "cannot be trained: "
_RANDOM_TRIES = 300
_ENUMERATED = 20_000
# predictions over a limit before a search for a point gives up: each takes a good part of a second
_PREDICTED = 200


class Limits:
    """The limits of a study, known before training.

    Args:
        bound: the space on its backbone, with its own budget.
        recipe: holding values or domains.
        constraints: of the study; measured ones count as far as they are predicted.
        predictions: without them only exact constraints are known before training.
    """

    def __init__(
        self,
        bound: BoundSpace,
        recipe: Recipe,
        constraints: Sequence[Constraint] = (),
        predictions: Predicts | None = None,
    ) -> None:
        self._bound = bound
        self._recipe = recipe
        self._exact = tuple(known for known in constraints if not known.measured)
        self._predictions = predictions
        self._predicted = tuple(
            known for known in constraints if known.predicted or known.wants_merging
        )

    def broken(self, draw: Draw) -> str | None:
        """Why the point may not be trained, in one sentence; ``None`` when it may."""
        return self.broken_exactly(draw) or self._broken_by_prediction(draw)

    def broken_exactly(self, draw: Draw) -> str | None:
        """As :meth:`broken`, without predictions, which take long."""
        broken = self._bound.broken_constraint(draw.architecture)
        if broken is not None:
            return f"over budget: {broken}"
        if not self._exact:
            return None
        placed = self._bound.placed(draw.architecture)
        parts = cast("tuple[Placement, ...]", placed.placements)
        stored = sum(part.stored_bytes() for part in parts)
        exact = costs(placed.count, stored, self._bound.anatomy.backbone_parameters)
        for constraint in self._exact:
            broken = constraint.broken(exact)
            if broken is not None:
                return f"over budget: {broken}"
        return None

    def _broken_by_prediction(self, draw: Draw) -> str | None:
        if self._predictions is None:
            return None
        architecture = self._bound.canonical(draw.architecture)
        if refusal := self._predictions.refusal(architecture, draw.recipe):
            return f"{_UNTRAINABLE}{refusal}"
        for constraint in self._predicted:
            if constraint.wants_merging:
                remaining = self._predictions.remaining(architecture)
                if remaining:
                    return (
                        f"over budget: {constraint.name} cannot be 0 with {remaining[0]}, which "
                        f"cannot be merged, constraint: {constraint.text}"
                    )
                continue
            memory = self._predictions.train_memory_bytes(architecture, draw.recipe)
            broken = constraint.broken({constraint.name: memory}, "is predicted to be")
            if broken is not None:
                return f"over budget: {broken}"
        return None

    def find(self, seed: int, wanted: Callable[[Draw], bool] = lambda draw: True) -> Draw | None:
        """A point that meets all limits; ``None`` when none is found.

        Args:
            seed: of the random ones among the points that are looked through.
            wanted: whether a point that meets the exact limits may be taken.
        """
        found = self._search(seed, wanted)
        return None if isinstance(found, str) else found

    def _search(self, seed: int, wanted: Callable[[Draw], bool]) -> Draw | str:
        """A point that meets all limits, else why the last one that was looked at does not."""
        over, reason = 0, ""
        for draw in self.candidates(seed):
            if (broken := self.broken_exactly(draw)) is not None or not wanted(draw):
                reason = broken or reason
                continue
            if (broken := self._broken_by_prediction(draw)) is None:
                return draw
            over, reason = over + 1, broken
            if over == _PREDICTED:
                break
        return reason

    def candidates(self, seed: int) -> Iterator[Draw]:
        """Points to look through for one that fits: random, then the first 20,000 in order."""
        choose = at_random(random.Random(seed))
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
        predicted = self._predicted if self._predictions is not None else ()
        known = (*self._exact, *predicted)
        if not known and self._predictions is None:
            return
        found = self._search(0, lambda draw: True)
        if isinstance(found, str):
            if found.startswith(_UNTRAINABLE) or not known:
                raise UsageError(
                    "no architecture of the space was found that can be trained: "
                    f"{found.removeprefix(_UNTRAINABLE)}"
                )
            texts = ", ".join(constraint.text for constraint in known)
            raise UsageError(
                f"no architecture of the space was found that meets {texts}; loosen a constraint "
                "or widen the space"
            )
