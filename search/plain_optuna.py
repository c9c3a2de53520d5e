"""The objective of a study for a loop of Optuna's own, without a driver and workers.

::

    mine = optuna.create_study(directions=study.directions)
    mine.optimize(study.objective, n_trials=20)

What becomes of a trial:

- trained: COMPLETE with the values of the objectives. The user attributes are those of
  ``run_study``'s trials: ``words``, ``architecture``, ``recipe``, ``train_key``, ``seed``,
  ``result``; and ``over``, sentences on constraints that measured costs break.
- a training that was done in this Optuna study: COMPLETE with the values of that trial, which a
  training would give again; ``twin`` is its number.
- its training failed: COMPLETE with the worst values, ``reason``, all constraints violated.
- over budget, or cannot be trained: PRUNED, ``reason``, all constraints violated. Without values
  or intermediate ones, which TPE would raise on with several objectives, PRUNED says nothing to a
  sampler; by the constraints TPE keeps away from such points. FAIL would teach none, and end
  ``optimize``.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import optuna
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from peftnas.search import distributions
from peftnas.search.errors import UsageError
from peftnas.search.evaluator import Evaluator
from peftnas.search.jobs import TrialResult
from peftnas.search.plans import Plan, plan_of
from peftnas.search.preflight import prepare
from peftnas.search.scores import Score, reason_of
from peftnas.search.study import Study


class OptunaObjective:
    """Trains what Optuna's trials suggest, in this process; no checkpoint is written.

    Every trial is trained whole, also with ``Study.halving``: Optuna's pruners know one objective
    only. Several threads (``n_jobs``) train in turn, since there is one backbone.

    Args:
        study: what is searched; it is checked here.
        data: folder that relative sources of the task are looked for in first.
        base: folder of the study's file; the current one by default.
    Raises:
        UsageError: for the first thing that is wrong with the study.
    """

    def __init__(
        self, study: Study, *, data: Path | None = None, base: Path | None = None
    ) -> None:
        self.study = study
        self._evaluator = Evaluator(prepare(study, data=data, base=base))
        self._lock = Lock()

    def __call__(self, trial: BaseTrial) -> tuple[float, ...]:
        """Suggest a point, train it, keep what became of it with the trial.

        Args:
            trial: of an Optuna study with the directions of ``Study.directions``; or a fixed or
                finished one, to train its point again.
        Returns:
            One value an objective, in their order.
        Raises:
            optuna.TrialPruned: if the point is over budget or cannot be trained.
            UsageError: if the Optuna study has other directions.
        """
        other: optuna.Study | None = getattr(trial, "study", None)
        if other is not None:
            _check_directions(self.study, other)
        draw = distributions.suggest(self._evaluator.bound, self.study.recipe, trial)
        with self._lock:
            plan = self._evaluator.plan(draw)
            broken = self._evaluator.broken(draw)
            if broken is not None:
                trial.set_user_attr("words", plan.words)
                trial.set_user_attr("reason", broken)
                _keep_constraints(trial, self._evaluator.refused(broken))
                raise optuna.TrialPruned(broken)
            for name, value in plan.attributes().items():
                trial.set_user_attr(name, value)
            twin = _twin(other, plan) if other is not None else None
            if twin is None:
                score = self._evaluator.train(plan)
            else:
                trial.set_user_attr("twin", twin.number)
                kept = TrialResult.from_dict(twin.user_attrs["result"])
                score = self._evaluator.scorer.score(kept)
        _keep(trial, score)
        return tuple(score.values)


def _check_directions(study: Study, other: optuna.Study) -> None:
    found = tuple(direction.name.lower() for direction in other.directions)
    if found != study.directions:
        raise UsageError(
            f"the Optuna study's directions must be {list(study.directions)}, got {list(found)}; "
            "write optuna.create_study(directions=study.directions)"
        )


def _twin(study: optuna.Study, plan: Plan) -> FrozenTrial | None:
    """The first trial of the Optuna study that was the same training and went well."""
    for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        known = plan_of(other)
        if known is not None and known.key == plan.key:
            if other.user_attrs.get("result", {}).get("status") == "complete":
                return other
    return None


def _keep(trial: BaseTrial, score: Score) -> None:
    trial.set_user_attr("result", score.result.to_dict())
    if score.failed:
        trial.set_user_attr("reason", reason_of(score.result))
    if score.over:
        trial.set_user_attr("over", score.over)
    _keep_constraints(trial, score)


def _keep_constraints(trial: BaseTrial, score: Score) -> None:
    known = getattr(trial, "constraints", {})
    for key, value in score.constraints.items():
        if key not in known:  # a finished trial has them, and Optuna keeps the first value
            trial.set_constraint(key, value)
