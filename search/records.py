"""What is written of a trial into its Optuna study, and the only code that writes it.

A trial appears in one transaction when its training starts, with everything that is needed to
train it again. ``outcomes.py`` says how its end is read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from peftnas.search.constraints import Constraint
from peftnas.search.distributions import Answers
from peftnas.search.jobs import TrialResult
from peftnas.search.objectives import Objective
from peftnas.search.outcomes import RUNGS, Outcome, outcome, rungs_of
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
        self._live: dict[int, Trial] = {}
        self._sampler: dict[str, Any] = {}

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

    def start(self, plan: Plan, answers: Answers) -> int:
        """Record that a trial will be trained as ``plan`` says; its number."""
        return self._begin(answers, plan.attributes())

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
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        planned = [(trial, plan_of(trial)) for trial in waiting]
        return [
            (trial.number, plan, Answers.of(trial)) for trial, plan in planned if plan is not None
        ]

    def begin(self, number: int) -> None:
        """An enqueued trial is trained from here on."""
        trial_id = self.trials()[number]._trial_id
        self.study._storage.set_trial_state_values(trial_id, TrialState.RUNNING)

    def refused(self, answers: Answers, reason: str, **attributes: Any) -> int:
        """Record a proposal that is not trained, and why; its number."""
        number = self._begin(answers, {"reason": reason, **attributes})
        self._end(number, None, TrialState.FAIL)
        return number

    def refuse(self, number: int, reason: str) -> None:
        """End a trial that was started and is not trained."""
        self._trial(number).set_user_attr("reason", reason)
        self._end(number, None, TrialState.FAIL)

    def promoted(self, number: int, rung: int) -> None:
        """Record that a trial trains on to this rung, so that it goes on after a restart."""
        self._trial(number).set_user_attr("under_way", rung)

    def reached(self, number: int, score: Score) -> None:
        """Record what a trial reached at a rung below the top."""
        trial = self._trial(number)
        entry = {
            "step": score.result.step,
            "values": score.values,
            "metrics": score.result.metrics,
            "constraints": score.constraints,
            "over": score.over,
        }
        with together(self.study):
            trial.set_user_attr("result", score.result.to_dict())
            trial.set_user_attr(RUNGS, [*trial.user_attrs.get(RUNGS, []), entry])

    def stop(self, number: int, reason: str) -> None:
        """End a trial that waits at a rung and is trained no more."""
        self._trial(number).set_user_attr("reason", reason)
        self._end(number, None, TrialState.PRUNED)

    def tell(self, number: int, result: TrialResult) -> Score:
        """End a trial whose training ended, well or by its own fault.

        Returns:
            The result as it was recorded: failed, if the task did not measure every objective.
        """
        score = self.scorer.score(result)
        trial = self._trial(number)
        with together(self.study):
            trial.set_user_attr("result", score.result.to_dict())
            if score.failed:
                trial.set_user_attr("reason", reason_of(score.result))
            if score.over:
                trial.set_user_attr("over", score.over)
            for key, value in score.constraints.items():
                # only the first value counts for Optuna, and a killed driver may have written it
                if key not in trial.constraints:
                    trial.set_constraint(key, value)
        self._end(number, score.values, TrialState.COMPLETE)
        return score

    def lost(self, number: int) -> int:
        """Count that a machine took the trial down; how often it has happened now."""
        trial = self._trial(number)
        losses = int(trial.user_attrs.get("losses_machine", 0)) + 1
        trial.set_user_attr("losses_machine", losses)
        return losses

    def give_up(self, number: int, reason: str) -> None:
        """End a trial that was lost too often; see ``cluster/faults.py``."""
        with together(self.study):
            self._trial(number).set_user_attr("given_up", True)
            self._trial(number).set_user_attr("reason", reason)
        self._end(number, None, TrialState.FAIL)

    def recover(self) -> dict[int, Plan]:
        """Put in order what a dead driver left; what is not over, by number.

        A trial without a plan, which some other program asked for or enqueued, is ended. One
        whose last result was already recorded is told.
        """
        again = {}
        for trial in self.trials():
            plan = plan_of(trial)
            if trial.state == TrialState.WAITING and plan is None:
                self.begin(trial.number)  # Optuna ends running trials only
            elif trial.state != TrialState.RUNNING:
                continue
            if plan is None:
                self.refuse(trial.number, DIED_INSIDE_ASK)
                continue
            result = _recorded(trial)
            if result is None:
                again[trial.number] = plan
            elif result.status == "paused":
                if len(rungs_of(trial)) == 0 or rungs_of(trial)[-1]["step"] < result.step:
                    self.reached(trial.number, self.scorer.score(result))
                again[trial.number] = plan
            else:
                self.tell(trial.number, result)
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
        return storage.get_trial_number_from_id(trial_id)

    def _trial(self, number: int) -> Trial:
        if number not in self._live:
            # Optuna has no public way to a trial that another process had asked for
            self._live[number] = Trial(self.study, self.trials()[number]._trial_id)
        return self._live[number]

    def _end(self, number: int, values: list[float] | None, state: TrialState) -> None:
        self.study.tell(number, values, state=state)
        self._live.pop(number, None)


def _recorded(trial: FrozenTrial) -> TrialResult | None:
    """The last result that was written before it was told; ``None`` without one."""
    kept: dict[str, Any] | None = trial.user_attrs.get("result")
    return None if kept is None else TrialResult.from_dict(kept)
