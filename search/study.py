"""Study: what is explored. One Python object that a study file holds under the name ``study``."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from peftnas.search.constraints import Constraint, parse_constraint
from peftnas.search.errors import UsageError
from peftnas.search.halving import Halving
from peftnas.search.objectives import Objective, objective
from peftnas.search.recipe import Recipe
from peftnas.search.task_check import check_task
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import held, settings
from peftnas.spaces.serial import to_json
from peftnas.spaces.space import SearchSpace

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

    from peftnas.search.backbone import Backbone, Source
    from peftnas.search.objectives import Direction
    from peftnas.search.plain_optuna import OptunaObjective
    from peftnas.search.task_protocol import Task

# fields of several texts: what they are, and an example
_TEXTS = (
    ("objectives", "names", "'accuracy'"),
    ("constraints", "texts", "'train_memory_bytes <= 8GB'"),
)
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_TASK = (
    "name",
    "metrics",
    "to_dict",
    "open",
    "test",
    "score",
)  # of search/task_protocol.py's protocol


@dataclass(frozen=True)
class Study:
    """A backbone, a task and a space to search, and what is looked for.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``; also the folder below ``runs/``.
        backbone: a folder, a name on the Hugging Face hub, a ``Backbone``, or a function that
            gives one of these.
        task: such as ``glue("sst2")``; see ``search/task_protocol.py``.
        space: of architectures.
        recipe: how each is trained; fields may hold domains, which are searched too.
        objectives: names, one or more (one may stand alone): metrics of the task,
            ``trainable_parameters``, ``trainable_percent``, ``stored_bytes``,
            ``train_memory_bytes``, ``train_step_s``, ``inference_overhead``, ``decode_overhead``;
            see ``objectives.COSTS``. Default: the task's first metric and
            ``trainable_parameters``.
        constraints: bounds on costs such as ``"stored_bytes <= 1MB"``, ``"train_memory_bytes <=
            8GB"``, ``"train_step_s <= 50ms"``, ``"inference_overhead <= 5%"``. A proposal that is
            known or predicted to be beyond one is not trained; a trial that is measured to be is
            on no front, and the sampler learns it.
        halving: stops trials early, such as ``Halving(min_steps=20)``; ``None``: every trial is
            trained whole. ``recipe.steps`` then is one number, the steps of a trial that is never
            stopped.
        seed: all random numbers of the study derive from it; at least 0.
    Raises:
        UsageError: if one of these is broken.
    """

    name: str
    backbone: Source
    task: Task
    space: SearchSpace
    recipe: Recipe = field(default_factory=Recipe)
    objectives: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    halving: Halving | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        named = isinstance(self.name, str) and re.fullmatch(_NAME, self.name)
        if not named:
            raise UsageError(
                "a study's name must be letters, digits, '.', '_' and '-', got "
                f"{self.name!r}; rename it, since a folder is called by it too"
            )
        if not all(hasattr(self.task, name) for name in _TASK):
            raise UsageError(
                f"a study's task must have {', '.join(_TASK)}, such as TextClassification(...), "
                f"got {self.task!r}; take one of peftnas.studies.tasks, or a class of your own"
            )
        if not isinstance(self.space, SearchSpace):
            raise UsageError(
                f"a study's space must be a SearchSpace, got {self.space!r}; put its methods into "
                "SearchSpace(...)"
            )
        if not isinstance(self.recipe, Recipe):
            raise UsageError(
                f"a study's recipe must be a Recipe, got {self.recipe!r}; write Recipe(steps=300)"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise UsageError(
                f"a study's seed must be a whole number >= 0, got {self.seed!r}; take such as 0"
            )
        check_task(self.task)
        self._check_halving()
        for name, kind, example in _TEXTS:
            given = getattr(self, name)
            if not isinstance(given, str | list | tuple):
                raise UsageError(f"{name} must be {kind}, got {given!r}; write such as {example}")
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        if not all(isinstance(text, str) for text in self.constraints):
            raise UsageError(
                f"constraints must be texts, got {list(self.constraints)!r}; write such as "
                f"{_TEXTS[1][2]}"
            )
        if not self.objectives:
            default = (self.task.metrics[0], "trainable_parameters")
            object.__setattr__(self, "objectives", default)
        if len(set(self.objectives)) != len(self.objectives):
            raise UsageError(f"objectives must be distinct, got {self.objectives!r}; drop one")
        self.named_objectives(backbone_parameters=1)  # all names are known
        metrics = self.task.metrics
        _check_room(tuple(parse_constraint(text, metrics) for text in self.constraints))

    def rungs(self) -> tuple[()] | tuple[tuple[int, ...], int]:
        """Optimiser steps of each rung, the whole training last, and the reduction factor.

        Returns:
            An empty tuple without halving.
        """
        if self.halving is None:
            return ()
        return self.halving.rungs(held(self.recipe.steps)), self.halving.reduction_factor

    def _check_halving(self) -> None:
        if self.halving is None:
            return
        if not isinstance(self.halving, Halving):
            raise UsageError(
                f"a study's halving must be a Halving, got {self.halving!r}; write "
                "Halving(min_steps=20)"
            )
        if isinstance(self.recipe.steps, Domain):
            raise UsageError(
                f"recipe.steps must be one number beside halving, got {self.recipe.steps!r}; "
                "name the steps of a whole training"
            )
        self.rungs()

    def named_objectives(self, backbone_parameters: int) -> tuple[Objective, ...]:
        """The objectives with directions and bounds.

        Args:
            backbone_parameters: of the backbone without head.
        Raises:
            UsageError: if one of them is unknown.
        """
        directions = getattr(self.task, "directions", None)
        return tuple(
            objective(name, self.task.metrics, backbone_parameters, directions)
            for name in self.objectives
        )

    @property
    def directions(self) -> tuple[Direction, ...]:
        """ "maximize" or "minimize" for each objective, as ``optuna.create_study`` wants them."""
        known = self.named_objectives(backbone_parameters=1)
        return tuple(objective.direction for objective in known)

    def objective(self, trial: BaseTrial) -> tuple[float, ...]:
        """Train what an Optuna trial suggests, in this process, for a loop of Optuna's own.

        ``optuna.create_study(directions=study.directions).optimize(study.objective, n_trials=9)``;
        see ``search/plain_optuna.py``. Files are looked for from the current folder:
        ``OptunaObjective(study, data=...)`` looks elsewhere. The backbone stays loaded.

        Args:
            trial: of an Optuna study with these directions.
        Returns:
            One value an objective, in their order.
        Raises:
            optuna.TrialPruned: if the point is over budget or cannot be trained.
            UsageError: if something is wrong with this study, or the Optuna study's directions.
        """
        return self._optuna_objective(trial)

    @cached_property
    def _optuna_objective(self) -> OptunaObjective:
        from peftnas.search.plain_optuna import OptunaObjective

        return OptunaObjective(self)

    def __getstate__(self) -> dict[str, Any]:
        # the loaded backbone behind objective() does not travel
        return {known.name: getattr(self, known.name) for known in fields(self)}

    def to_dict(self, backbone: Backbone | None = None) -> dict[str, Any]:
        """What makes it this study, as JSON values; a stored study of another content is another.

        The path of the backbone does not count, its weights do. Nor do workers, sampler, or the
        number of trials.

        Args:
            backbone: the opened one; found by the study's own ``backbone`` otherwise.
        """
        if backbone is None:
            from peftnas.search.backbone import find_backbone

            backbone = find_backbone(self.backbone)
        parameters = backbone.anatomy().backbone_parameters
        halving = {} if self.halving is None else {"halving": asdict(self.halving)}
        return {
            "space": self.space.to_dict(),
            "recipe": {name: to_json(getattr(self.recipe, name)) for name in settings(Recipe)},
            "task": self.task.to_dict(),
            "backbone": {"sha256": backbone.sha256, "parameters": parameters},
            "objectives": [
                {"name": known.name, "direction": known.direction}
                for known in self.named_objectives(parameters)
            ],
            "constraints": list(self.constraints),
            "seed": self.seed,
            **halving,
        }


def _check_room(constraints: tuple[Constraint, ...]) -> None:
    """Refuse bounds that no value meets together."""
    for lower in constraints:
        for upper in constraints:
            if (lower.sense, upper.sense) != (">=", "<=") or lower.name != upper.name:
                continue
            if lower.bound > upper.bound:
                raise UsageError(
                    f"constraints must leave room, got {upper.text!r} and {lower.text!r}; "
                    "loosen one of them"
                )
