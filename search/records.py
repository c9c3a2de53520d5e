"""What is written of a trial into its Optuna study, and the only code that writes it.

A trial that was accepted carries ``ready`` (set last), so one that died inside ``ask`` can be told
apart. How trials end, as ``outcome`` reads them back:

- complete: COMPLETE, constraint ``feasible`` met, measured values. Where a measured cost is over
  one of the study's constraints, that constraint is violated too (its text is the key) and the
  sentences are in ``over``: such a trial counts as finished, and is on no front.
- failed: the training failed by the architecture's or recipe's own fault. COMPLETE with the worst
  possible values and ``feasible`` violated, since samplers learn nothing from FAIL. The same word
  for a trial given up after its worker died again and again: FAIL, with ``given_up``.
- refused: FAIL, with a ``reason``: over budget, a duplicate, died inside ask. It cost nothing.
- running: neither of these.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from peftnas.search.constraints import Constraint
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.objectives import COSTS, MEASURED, Objective, costs

Outcome = Literal["complete", "failed", "refused", "running"]

FEASIBLE = "feasible"
DIED_INSIDE_ASK = "died inside ask"


def trial_key(train_key: str, recipe: Mapping[str, Any], arms: str = "") -> str:
    """Says which training a trial is: two trials of equal key would repeat each other.

    Args:
        train_key: of the architecture.
        recipe: as ``Recipe.to_dict`` writes it.
        arms: key of the training settings of methods, see ``arms.py``; "": none.
    """
    parts = [train_key, dict(recipe), *([arms] if arms else [])]
    content = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def outcome(trial: FrozenTrial) -> Outcome:
    """How the trial ended; see the head of this file."""
    if trial.state == TrialState.COMPLETE:
        return "complete" if trial.constraints.get(FEASIBLE, 1.0) <= 0 else "failed"
    if trial.state == TrialState.FAIL:
        return "failed" if trial.user_attrs.get("given_up") else "refused"
    return "running"


def within_limits(trial: FrozenTrial) -> bool:
    """Whether a finished trial meets every constraint; only such a one can be on a front."""
    return all(violation <= 0 for violation in trial.constraints.values())


@dataclass(frozen=True)
class Plan:
    """A trial that was accepted: everything needed to train it, now or after a restart."""

    architecture: dict[str, Any]
    recipe: dict[str, Any]
    train_key: str
    seed: int
    words: str
    baseline: str | None = None
    arms: str = ""

    @property
    def key(self) -> str:
        return trial_key(self.train_key, self.recipe, self.arms)

    def job(self, number: int, folder: str, measure: tuple[str, ...] = ()) -> TrialJob:
        """The job of this trial, which writes its checkpoint to ``folder``.

        Args:
            number: of the trial.
            folder: of its checkpoint.
            measure: costs that the study asks for.
        """
        return TrialJob(
            number, self.architecture, self.recipe, self.seed, self.key, folder, measure
        )


def plan_of(trial: FrozenTrial) -> Plan | None:
    """What was recorded when the trial was accepted; ``None`` if it never was."""
    kept = trial.user_attrs
    if not kept.get("ready"):
        return None
    return Plan(
        kept["architecture"],
        kept["recipe"],
        kept["train_key"],
        kept["seed"],
        kept["words"],
        kept.get("baseline"),
        kept.get("arms", ""),
    )


class Records:
    """The trials of one Optuna study, for its single writer.

    Args:
        study: the Optuna study.
        objectives: in the order of the study's directions.
        backbone_parameters: of the backbone without head.
        constraints: of the study; what they say of measured costs is told to the sampler.

    Attributes:
        measure: names of the measured costs that objectives or constraints ask for.
    """

    def __init__(
        self,
        study: optuna.Study,
        objectives: Sequence[Objective],
        backbone_parameters: int,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.study = study
        self.objectives = tuple(objectives)
        self.backbone_parameters = backbone_parameters
        self.constraints = tuple(known for known in constraints if known.measured)
        asked = {goal.name for goal in self.objectives}
        asked |= {limit.name for limit in self.constraints}
        self.measure = tuple(name for name in MEASURED if name in asked)
        self._live: dict[int, Trial] = {}

    def trials(self) -> list[FrozenTrial]:
        """All trials by number; shared with Optuna's cache, not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def numbers(self, *outcomes: Outcome) -> list[int]:
        """The numbers of all trials that ended in one of these ways."""
        return [trial.number for trial in self.trials() if outcome(trial) in outcomes]

    def accept(self, trial: Trial, plan: Plan) -> None:
        """Record that ``trial`` will be trained as ``plan`` says."""
        self._live[trial.number] = trial
        trial.set_user_attr("architecture", plan.architecture)
        trial.set_user_attr("recipe", plan.recipe)
        trial.set_user_attr("train_key", plan.train_key)
        trial.set_user_attr("seed", plan.seed)
        trial.set_user_attr("words", plan.words)
        if plan.baseline is not None:
            trial.set_user_attr("baseline", plan.baseline)
        if plan.arms:
            trial.set_user_attr("arms", plan.arms)
        trial.set_user_attr("ready", True)

    def refuse(self, number: int, reason: str) -> None:
        """End a trial that is not trained."""
        self._trial(number).set_user_attr("reason", reason)
        self._end(number, None, TrialState.FAIL)

    def tell(self, number: int, result: TrialResult) -> TrialResult:
        """End a trial whose training ended, well or by its own fault.

        Returns:
            The result as it was recorded: failed, if the task did not measure every objective.
        """
        trial, result = self._trial(number), self._scored(result)
        trial.set_user_attr("result", result.to_dict())
        failed = result.status == "failed"
        if failed:
            trial.set_user_attr("reason", reason_of(result))
        over = [] if failed else self._over(result)
        if over:
            trial.set_user_attr("over", over)
        self._constrain(trial, FEASIBLE, 1.0 if failed else 0.0)
        for limit in self.constraints:
            # samplers want the same keys in all trials; what was not measured was not met
            known = limit.name in result.measured
            value = limit.violation(result.measured[limit.name]) if known else 1.0
            self._constrain(trial, limit.text, value)
        self._end(number, self._values(result), TrialState.COMPLETE)
        return result

    def over(self, number: int) -> list[str]:
        """A sentence for each constraint that a finished trial was measured to break."""
        found: list[str] = self.trials()[number].user_attrs.get("over", [])
        return found

    def lost(self, number: int) -> int:
        """Count that a machine took the trial down; how often it has happened now."""
        trial = self._trial(number)
        losses = int(trial.user_attrs.get("losses_machine", 0)) + 1
        trial.set_user_attr("losses_machine", losses)
        return losses

    def give_up(self, number: int, reason: str) -> None:
        """End a trial that was lost too often; see ``cluster/faults.py``."""
        self._trial(number).set_user_attr("given_up", True)
        self._trial(number).set_user_attr("reason", reason)
        self._end(number, None, TrialState.FAIL)

    def recover(self) -> dict[int, Plan]:
        """Put in order what a dead driver left; what has to be trained again, by number.

        A trial that died inside ask, or that was enqueued and never asked for, is ended. One
        whose result was already recorded is told.
        """
        again = {}
        for trial in self.trials():
            if trial.state == TrialState.WAITING:
                # Optuna ends running trials only
                self.study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
            elif trial.state != TrialState.RUNNING:
                continue
            plan = plan_of(trial)
            if plan is None:
                self.refuse(trial.number, DIED_INSIDE_ASK)
            elif "result" in trial.user_attrs:
                self.tell(trial.number, TrialResult.from_dict(trial.user_attrs["result"]))
            else:
                again[trial.number] = plan
        return again

    def _trial(self, number: int) -> Trial:
        if number not in self._live:
            # Optuna has no public way to a trial that another process had asked for
            self._live[number] = Trial(self.study, self.trials()[number]._trial_id)
        return self._live[number]

    def _end(self, number: int, values: list[float] | None, state: TrialState) -> None:
        self.study.tell(number, values, state=state)
        self._live.pop(number, None)

    def _constrain(self, trial: Trial, key: str, value: float) -> None:
        """Only the first value counts for Optuna, and a killed driver may have written it."""
        if key not in trial.constraints:
            trial.set_constraint(key, value)

    def _over(self, result: TrialResult) -> list[str]:
        """A sentence for each constraint that a finished trial breaks."""
        broken = (limit.broken(result.measured) for limit in self.constraints)
        return [sentence for sentence in broken if sentence is not None]

    def _scored(self, result: TrialResult) -> TrialResult:
        """The result, failed if the task or the trial did not measure all that was promised."""
        if result.status == "failed":
            return result
        lacking = [name for name in self.measure if name not in result.measured]
        if lacking:
            error = f"the trial must measure {', '.join(lacking)}, and did not"
            return replace(result, status="failed", cause="error", error=error)
        names = {known.name for known in self.objectives} - COSTS.keys() - result.metrics.keys()
        if not names:
            return result
        found = ", ".join(sorted(result.metrics)) or "nothing"
        error = f"the task's score must return {', '.join(sorted(names))}, got {found}"
        return replace(result, status="failed", cause="error", error=error)

    def _values(self, result: TrialResult) -> list[float]:
        if result.status == "failed":
            return [objective.worst for objective in self.objectives]
        exact = costs(result.trainable_parameters, result.stored_bytes, self.backbone_parameters)
        measured = result.metrics | result.measured | exact
        return [float(measured[objective.name]) for objective in self.objectives]


def reason_of(result: TrialResult) -> str:
    """One line for tables; the whole traceback stays in the result."""
    lines = result.error.strip().splitlines() or ["no message"]
    return f"{result.cause}: {lines[-1]}"
