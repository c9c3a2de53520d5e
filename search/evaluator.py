"""Evaluator: points of a study trained in this process, whoever proposed them, without a driver.

A score is a function of the study's seed, the architecture and the recipe, so it is the one that
``run_study`` gives (on a CPU bit for bit, with one thread).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search import distributions
from peftnas.search.distributions import Draw
from peftnas.search.errors import UsageError
from peftnas.search.jobs import TrialResult
from peftnas.search.limits import Limits
from peftnas.search.planner import Planner
from peftnas.search.plans import Plan
from peftnas.search.preflight import Prepared
from peftnas.search.scores import Score, Scorer

if TYPE_CHECKING:
    from peftnas.search.trial.bench import Bench


class Evaluator:
    """Trains points of one study on one bench, one at a time.

    Args:
        prepared: the checked study.

    Attributes:
        study: as it was defined.
        bound: its space on its backbone.
        scorer: of results.
        rungs: optimiser steps at which trials are compared, the whole training last; without
            halving empty.
    """

    def __init__(self, prepared: Prepared) -> None:
        self.study = prepared.study
        self.bound = prepared.bound
        parameters = prepared.bound.anatomy.backbone_parameters
        self.scorer = Scorer(prepared.objectives, parameters, prepared.constraints)
        self.rungs = prepared.rungs[0] if prepared.rungs else ()
        self._spec = prepared.spec
        self._planner = Planner(prepared.bound, prepared.study.recipe, prepared.study.seed)
        self._limits = Limits(
            prepared.bound, prepared.study.recipe, prepared.constraints, prepared.predictions
        )

    @cached_property
    def bench(self) -> Bench:
        """The backbone and the data, on the GPU if this process has one."""
        import torch

        bench = self._spec.build("cuda" if torch.cuda.is_available() else "cpu")
        bench.warm_up(self._spec.dtypes)
        return bench

    def point(self, parameters: Mapping[str, Any]) -> Draw:
        """The point of the study's space that parameters stand for.

        Args:
            parameters: values by Optuna's names; those that are not active there have no effect.
        Raises:
            UsageError: if one is missing, unknown or outside its domain.
        """
        recipe = self.study.recipe
        try:
            return distributions.replay(self.bound, recipe, parameters, flat=True)
        except ValueError as error:
            raise UsageError(f"these parameters are no point of the study: {error}") from error

    def broken(self, draw: Draw) -> str | None:
        """Why the point may not be trained, in one sentence; ``None`` when it may."""
        return self._limits.broken(draw)

    def plan(self, draw: Draw) -> Plan:
        """How the point is trained."""
        return self._planner.plan(draw)

    def train(self, plan: Plan, folder: Path | None = None, rung: int | None = None) -> Score:
        """Train to a rung, and score.

        Args:
            plan: of :meth:`plan`.
            folder: of the checkpoint, and of the snapshot of a training that is not at its end,
                from which it goes on; ``None``: none is written.
            rung: counted from 0; below the last one a folder is needed. ``None``: the end.
        Raises:
            CannotSaveError: if a checkpoint or snapshot cannot be written.
        """
        from peftnas.search.trial.fine_tune import run_trial

        until = self.rungs[rung] if rung is not None and rung < len(self.rungs) - 1 else None
        job = plan.job(0, str(folder or ""), self.scorer.measure, until)
        return self.scorer.score(run_trial(self.bench, job))

    def refused(self, reason: str) -> Score:
        """The score of a point that may not be trained: that of a failed training, at no step.

        Args:
            reason: one sentence.
        """
        return self.scorer.score(TrialResult("failed", cause="error", error=reason))
