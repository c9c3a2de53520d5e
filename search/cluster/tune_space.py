"""The space of a study for Ray Tune's OptunaSearch, with its conditions: define by run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import BaseTrial
from ray import cloudpickle

from peftnas.search import distributions
from peftnas.search.constraints import parse_constraint
from peftnas.search.limits import Limits
from peftnas.search.outcomes import FEASIBLE
from peftnas.search.planner import Planner
from peftnas.search.study import Study

if TYPE_CHECKING:
    from peftnas.search.recipe import Recipe
    from peftnas.spaces.architecture import Anatomy
    from peftnas.spaces.space import SearchSpace


class TuneSpace:
    """What ``OptunaSearch(space=...)`` calls with each of its trials.

    ``OptunaSearch(TuneSpace(study), metric=list(study.objectives), mode=[...])``. The values that
    it suggests become the config of a Tune trial, by Optuna's names.

    The Optuna trial gets ``words`` and ``architecture`` as user attributes, and the constraint
    ``feasible``: violated where the point is over a budget that is known without training, so that
    the sampler learns to keep away; such a point is not trained by ``as_trainable``.

    It can be pickled, as Tune does with its searcher every now and then, also where the space
    holds methods of the user's own script.

    Args:
        study: to search.
        base: folder of the study's file; the current one by default.
    Raises:
        UsageError: if the backbone is not found, or the space does not fit it.
    """

    def __init__(self, study: Study, *, base: Path | None = None) -> None:
        from peftnas.search.backbone import find_backbone

        anatomy = find_backbone(study.backbone, base=base or Path.cwd()).anatomy()
        self._hold(study.space, study.recipe, anatomy, study.constraints, study.seed)

    def __call__(self, trial: BaseTrial) -> None:
        """Suggest a value for everything that is active at one point."""
        draw = distributions.suggest(self._bound, self._recipe, trial)
        plan = self._planner.plan(draw)
        trial.set_user_attr("words", plan.words)
        trial.set_user_attr("architecture", plan.architecture)
        broken = self._limits.broken_exactly(draw)
        trial.set_constraint(FEASIBLE, 0.0 if broken is None else 1.0)

    def __reduce__(self) -> tuple[Callable[[bytes], TuneSpace], tuple[bytes]]:
        held: bytes = cloudpickle.dumps(self._held)  # type: ignore[no-untyped-call]
        return _revive, (held,)

    def _hold(
        self,
        space: SearchSpace,
        recipe: Recipe,
        anatomy: Anatomy,
        constraints: tuple[str, ...],
        seed: int,
    ) -> None:
        self._held = space, recipe, anatomy, constraints, seed
        self._recipe = recipe
        # memory is predicted where trials run: there the data are
        self._bound = space.bind(anatomy, train_memory_bytes=lambda architecture: 0.0)
        self._planner = Planner(self._bound, recipe, seed)
        self._limits = Limits(self._bound, recipe, tuple(map(parse_constraint, constraints)))


def _revive(held: bytes) -> TuneSpace:
    space: TuneSpace = TuneSpace.__new__(TuneSpace)
    values: tuple[Any, ...] = cloudpickle.loads(held)
    space._hold(*values)
    return space
