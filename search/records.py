"""What is written of a trial into its Optuna study, and the only code that writes it.

A trial appears in one transaction when its training starts, with everything that is needed to
train it again. ``outcomes.py`` says how its end is read back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, TrialState, create_trial

from peftnas.search.constraints import Constraint
from peftnas.search.distributions import Answers
from peftnas.search.jobs import TrialResult
from peftnas.search.objectives import Objective
from peftnas.search.outcomes import (
    LOSSES,
    RUNGS,
    UNDER_WAY,
    Outcome,
    outcome,
    rung_under_way,
    rungs_of,
)
from peftnas.search.plans import Plan, plan_of
from peftnas.search.scores import Score, Scorer, reason_of
from peftnas.search.storage import together

DIED_INSIDE_ASK = "died inside ask"
SAMPLER = "peftnas_sampler"  # user attribute of a study: what its sampler keeps of it


class Records:
    """The trials of one Optuna study, for its single writer.

    Args:
        study: the Optuna study.
        objectives: in the order of the study's directions.
        backbone_parameters: of the backbone without head.
        constraints: of the study; what they say of measured costs is told to the sampler.
    """

    def __init__(
        self,
        study: optuna.Study,
        objectives: Sequence[Objective],
        backbone_parameters: int,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.study = study
        self.scorer = Scorer(objectives, backbone_parameters, constraints)
        self.objectives = self.scorer.objectives
        self._sampler: dict[str, Any] = {}
        # of the trials that are not over, by number
        self._ids: dict[int, int] = {}
        self._losses: dict[int, Counter[str]] = {}
        self._constrained: dict[int, dict[str, float]] = {}
        self._rungs: dict[int, list[dict[str, Any]]] = {}

    @property
    def measure(self) -> tuple[str, ...]:
        """Names of the measured costs that objectives or constraints ask for."""
        return self.scorer.measure

    def trials(self) -> list[FrozenTrial]:
        """All trials by number; shared with Optuna's cache, not to be changed."""
        return self.study.get_trials(deepcopy=False)

    def numbers(self, *outcomes: Outcome) -> list[int]:
        """The numbers of all trials that ended in one of these ways."""
        return [trial.number for trial in self.trials() if outcome(trial) in outcomes]

    @property
    def sampler(self) -> dict[str, Any]:
        """What the sampler has noted of the study, to go on after a restart; JSON values."""
        return dict(self.study.user_attrs.get(SAMPLER, {}))

    @sampler.setter
    def sampler(self, noted: Mapping[str, Any]) -> None:
        if noted != self._sampler:
            self.study.set_user_attr(SAMPLER, dict(noted))
            self._sampler = dict(noted)

    def start(self, plan: Plan, answers: Answers, rung: int = 0) -> int:
        """Record that a trial will be trained as ``plan`` says, up to a rung; its number."""
        sent = {UNDER_WAY: rung} if rung else {}
        return self._begin(answers, plan.attributes() | sent)

    def enqueue(self, plan: Plan, answers: Answers) -> int:
        """Have a trial trained before the next proposal, by whoever runs the study; its number."""
        storage = self.study._storage
        trial = create_trial(
            state=TrialState.WAITING,
            params=dict(answers.parameters),
            distributions=dict(answers.distributions),
            user_attrs=plan.attributes(),
        )
        # Study.add_trial does the same and does not say the number
        trial_id = storage.create_new_trial(self.study._study_id, template_trial=trial)
        return storage.get_trial_number_from_id(trial_id)

    def enqueued(self) -> list[tuple[int, Plan, Answers]]:
        """The trials that were enqueued and not begun, oldest first."""
        storage = self.study._storage
        # below Optuna's cache, which would read every trial that is not over
        backend = getattr(storage, "_backend", storage)
        waiting = backend.get_all_trials(
            self.study._study_id, deepcopy=False, states=(TrialState.WAITING,)
        )
        planned = [(trial, plan_of(trial)) for trial in waiting]
        return [
            (trial.number, plan, Answers.of(trial)) for trial, plan in planned if plan is not None
        ]

    def begin(self, number: int, rung: int = 0) -> None:
        """An enqueued trial is trained from here on, up to a rung."""
        self.study._storage.set_trial_state_values(self._id(number), TrialState.RUNNING)
        if rung:
            self.promoted(number, rung)

    def refused(self, answers: Answers, reason: str, **attributes: Any) -> int:
        """Record a proposal that is not trained, and why; its number."""
        number = self._begin(answers, {"reason": reason, **attributes})
        self._end(number, None, TrialState.FAIL)
        return number

    def refuse(self, number: int, reason: str) -> None:
        """End a trial that was started and is not trained."""
        self._note(number, reason=reason)
        self._end(number, None, TrialState.FAIL)

    def promoted(self, number: int, rung: int) -> None:
        """Record that a trial trains on to this rung, so that it goes on after a restart."""
        self._note(number, **{UNDER_WAY: rung})

    def reached(self, number: int, rung: int, score: Score) -> None:
        """Record what a trial reached at a rung below the top."""
        entry = {
            "rung": rung,
            "step": score.result.step,
            "values": score.values,
            "metrics": score.result.metrics,
            "constraints": score.constraints,
            "over": score.over,
        }
        rungs = self._rungs.setdefault(number, [])
        rungs.append(entry)
        with together(self.study):
            self._note(number, result=score.result.to_dict(), **{RUNGS: rungs})

    def stop(self, number: int, reason: str) -> None:
        """End a trial that waits at a rung and is trained no more."""
        self._note(number, reason=reason)
        self._end(number, None, TrialState.PRUNED)

    def tell(self, number: int, result: TrialResult) -> Score:
        """End a trial whose training ended, well or by its own fault.

        Returns:
            The result as it was recorded: failed, if the task did not measure every objective.
        """
        score = self.scorer.score(result)
        known = self._constrained.get(number, {})
        with together(self.study):
            self._note(number, result=score.result.to_dict())
            if score.failed:
                self._note(number, reason=reason_of(score.result))
            if score.over:
                self._note(number, over=score.over)
            for key, value in score.constraints.items():
                # only the first value counts for Optuna, and a killed driver may have written it
                if key not in known:
                    self._constrain(number, key, value)
        self._end(number, score.values, TrialState.COMPLETE)
        return score

    def lost(self, number: int, cause: str) -> int:
        """Count that a trial was lost; how often it has happened for this cause."""
        losses = self._losses.setdefault(number, Counter())
        losses[cause] += 1
        self._note(number, **{LOSSES: dict(losses)})
        return losses[cause]

    def give_up(self, number: int, reason: str) -> None:
        """End a trial that was lost too often; see ``cluster/faults.py``."""
        with together(self.study):
            self._note(number, given_up=True, reason=reason)
        self._end(number, None, TrialState.FAIL)

    def recover(self) -> dict[int, Plan]:
        """Put in order what a dead driver left; what is not over, by number.

        A trial without a plan, which some other program asked for or enqueued, is ended. One
        whose last result was already recorded is told.
        """
        again = {}
        for trial in self.trials():
            if trial.state.is_finished():
                continue
            number, plan = trial.number, plan_of(trial)
            self._take_up(trial)
            if plan is None:
                if trial.state == TrialState.WAITING:
                    self.begin(number)  # Optuna ends running trials only
                self.refuse(number, DIED_INSIDE_ASK)
                continue
            if trial.state == TrialState.WAITING:
                continue
            result = _recorded(trial)
            if result is None or result.status == "paused":
                rungs = rungs_of(trial)
                if result is not None and (not rungs or rungs[-1]["step"] < result.step):
                    self.reached(number, rung_under_way(trial), self.scorer.score(result))
                again[number] = plan
            else:
                self.tell(number, result)
        return again

    def _begin(self, answers: Answers, attributes: Mapping[str, Any]) -> int:
        """A new running trial with its point and attributes; its number.

        Optuna's own way to write a trial at once asks the database about each parameter.
        """
        storage = self.study._storage
        trial_id = storage.create_new_trial(self.study._study_id)
        with together(self.study):
            for name, value in answers.parameters.items():
                distribution = answers.distributions[name]
                internal = distribution.to_internal_repr(value)
                storage.set_trial_param(trial_id, name, internal, distribution)
            for name, noted in answers.system_attributes.items():
                storage.set_trial_system_attr(trial_id, name, noted)
            for name, value in attributes.items():
                storage.set_trial_user_attr(trial_id, name, value)
        number = storage.get_trial_number_from_id(trial_id)
        self._ids[number] = trial_id
        return number

    def _take_up(self, trial: FrozenTrial) -> None:
        """Know what an earlier run wrote of a trial that is not over."""
        number, kept = trial.number, trial.user_attrs
        self._ids[number] = trial._trial_id
        self._losses[number] = Counter(kept.get(LOSSES, {}))
        self._constrained[number] = dict(trial.constraints)
        self._rungs[number] = list(rungs_of(trial))

    def _note(self, number: int, **attributes: Any) -> None:
        """Set user attributes of a trial."""
        trial_id = self._id(number)
        for name, value in attributes.items():
            self.study._storage.set_trial_user_attr(trial_id, name, value)

    def _constrain(self, number: int, key: str, value: float) -> None:
        """As ``Trial.set_constraint``, which reads the trial each time."""
        name = f"{_CONSTRAINTS_KEY}:{key}"
        self.study._storage.set_trial_system_attr(self._id(number), name, value)

    def _id(self, number: int) -> int:
        """Optuna's id of a trial."""
        if number not in self._ids:
            self._ids[number] = self.trials()[number]._trial_id
        return self._ids[number]

    def _end(self, number: int, values: list[float] | None, state: TrialState) -> None:
        # Study.tell reads the trial twice, and has the study's own sampler look at it
        self.study._storage.set_trial_state_values(self._id(number), state, values)
        for kept in (self._ids, self._losses, self._constrained, self._rungs):
            kept.pop(number, None)


def _recorded(trial: FrozenTrial) -> TrialResult | None:
    """The last result that was written before it was told; ``None`` without one."""
    kept: dict[str, Any] | None = trial.user_attrs.get("result")
    return None if kept is None else TrialResult.from_dict(kept)
