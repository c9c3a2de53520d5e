"""What a sampler sees of a study: an Optuna study in memory, beside the real one.

Refused proposals and the predicted values of stopped trials live here and never touch the study's
storage. The view is used from one thread, its owner's, and is built again on a restart by ``add``
and ``tell`` of all trials.

What is told to the sampler:

- a trial under way: RUNNING.
- a result at the top rung: COMPLETE with its values; at a lower rung: COMPLETE with the values
  that :mod:`extrapolation` predicts for the top, renewed as more trials reach it.
- a failure by the trial's own fault: COMPLETE, the constraint ``feasible`` violated, with the
  worst values seen so far. Samplers learn nothing from a failed state, and rank what is not
  feasible by its violation before they look at values.
- a refusal with a violation: the same, but only the first one after each accepted trial. So there
  are never more of them than trials, however rarely a draw fits.
- a duplicate: FAIL, which every sampler leaves out.
- several trainings of one architecture: one trial with the mean of their values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from peftnas.search.objectives import Direction
from peftnas.search.outcomes import FEASIBLE
from peftnas.search.sampling.changing_storage import ChangingStorage
from peftnas.search.sampling.extrapolation import Extrapolation
from peftnas.search.sampling.forecasts import Forecasts
from peftnas.search.sampling.seen import Seen, Training, seen_of
from peftnas.search.sampling.watches import Watches
from peftnas.search.storage import quiet_optuna

Array = NDArray[np.float64]

RENEWED_AT = 1.1
"""Predictions are renewed when the trials at the top have grown by this factor."""


class SamplerView:
    """The trials of a study as its sampler sees them.

    Args:
        sampler: proposes the points; it belongs to this view alone.
        directions: of the objectives.
        n_rungs: that trials can reach, the top included.
        constraints: keys that ``tell`` gives; what is not known of a trial counts as met.
        exact: which objectives are known before training, the same at all rungs; default none.
    Attributes:
        seen: the accepted trials, by the number of their first training.
        forecasts: what trials would show at the top, with deviations; made when first asked.
        worst: values of all results so far, by objective; infinite before the first one.
    """

    def __init__(
        self,
        sampler: BaseSampler,
        directions: Sequence[Direction],
        n_rungs: int = 1,
        constraints: Sequence[str] = (),
        exact: Sequence[bool] | None = None,
    ) -> None:
        self.seen: dict[int, Seen] = {}
        self.n_rungs = n_rungs
        self.directions = tuple(directions)
        self._keys = tuple(constraints)
        self._storage = ChangingStorage()
        with quiet_optuna():
            self._study = optuna.create_study(
                storage=self._storage, sampler=sampler, directions=list(directions)
            )
        self._study_id = self._storage.get_study_id_from_name(self._study.study_name)
        self._first: dict[int, int] = {}
        self._groups: dict[str, int] = {}
        self._refused: list[Seen] = []
        self._refusal_is_due = True
        self.worst = [-math.inf if way == "minimize" else math.inf for way in directions]
        self.forecasts = Forecasts(self, exact or [False] * len(self.directions))
        self._extrapolation = Extrapolation(n_rungs)
        self._top: list[Training] = []
        self._fitted = 0
        self._restored: dict[str, Any] = {}
        if isinstance(sampler, Watches):
            sampler.watch(self)

    def ask(self) -> Trial:
        """A trial to suggest on, which ``accept`` or ``refuse`` ends."""
        self._restore()
        return self._study.ask()

    def refuse(self, trial: Trial, violation: float | None = None) -> None:
        """End a trial that is not trained.

        Args:
            trial: of ``ask``.
            violation: by how much it is over a limit, above 0; ``None``: a duplicate.
        """
        frozen = self._frozen(trial)
        if violation is None or not self._refusal_is_due:
            self._study.tell(trial, state=TrialState.FAIL)
            return
        self._refusal_is_due = False
        seen = seen_of(frozen, violation)
        self._refused.append(seen)
        self._write(seen)

    def accept(self, trial: Trial, number: int, group: str | None = None) -> FrozenTrial:
        """End a trial that is trained as number ``number`` of the study.

        Args:
            trial: of ``ask``.
            number: of the training in the study, not used before.
            group: trainings of one group count as one trial, with the mean of their values.
        Returns:
            What the study's storage keeps: state RUNNING; parameters, distributions and the
            sampler's attributes.
        """
        frozen = copy.copy(self._frozen(trial))
        # a running proposal for other processes to see (Optuna's TPE and GP); it is whole now
        kept = {k: v for k, v in frozen.system_attrs.items() if ":relative_params:" not in k}
        frozen.system_attrs = kept
        if group in self._groups:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._storage.replace(frozen)
        self._enter(number, frozen, group)
        found = copy.deepcopy(frozen)
        found.number = number
        return found

    def add(
        self,
        number: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        system_attrs: Mapping[str, Any] | None = None,
        group: str | None = None,
    ) -> None:
        """A training that was not asked for here: enqueued, a filler, or of an earlier run.

        Args:
            number: of the training in the study, not used before.
            params: values as Optuna gives them.
            distributions: of the same names.
            system_attrs: of an earlier :meth:`accept`.
            group: see :meth:`accept`.
        """
        frozen = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=dict(distributions),
            system_attrs=dict(system_attrs or {}),
        )
        if group not in self._groups:
            # Study.add_trial is this call, but does not say which trial it made
            frozen._trial_id = self._storage.create_new_trial(self._study_id, frozen)
        self._enter(number, frozen, group)

    def forget(self, number: int) -> None:
        """A training that is not done after all: it leaves no trace.

        Args:
            number: of an accepted or added training without a result.
        """
        seen = self.seen[self._first[number]]
        if len(seen.trainings) > 1:
            del seen.trainings[number]
            return
        ended = copy.copy(self._storage.get_trial(seen.trial_id))
        ended.state = TrialState.FAIL
        self._storage.replace(ended)
        del self.seen[self._first.pop(number)]

    def tell(
        self,
        number: int,
        rung: int,
        values: Sequence[float] | None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """What a training reached.

        Args:
            number: of an accepted or added training.
            rung: from 0 to ``n_rungs - 1``, the top.
            values: one for each objective; ``None`` or NaN in it: it failed by its own fault.
            constraints: violations by key; not above 0: met.
        Raises:
            ValueError: if there is no such training or rung.
        """
        if number not in self._first or not 0 <= rung < self.n_rungs:
            raise ValueError(
                f"tell needs a training that was accepted and a rung below {self.n_rungs}, got "
                f"number {number} and rung {rung}"
            )
        seen = self.seen[self._first[number]]
        training = seen.trainings[number]
        fresh = not seen.told
        failed = values is None or any(map(math.isnan, values))
        training.rungs[rung] = None if failed else tuple(map(float, values or ()))
        training.constraints = dict(constraints or {})
        if not failed:
            self._note(training, rung)
        written = self._write(seen)
        if fresh:
            self._study.sampler.after_trial(
                self._study, written, TrialState.COMPLETE, written.values
            )

    @property
    def system_attrs(self) -> dict[str, Any]:
        """What the sampler keeps of the study (a QMC sequence's place), JSON values.

        To be written to the study's storage after an ask, and handed in after a restart.
        """
        held = self._storage.get_study_system_attrs(self._study_id)
        numbers = {seen.trial_id: number for number, seen in self.seen.items()}
        found: dict[str, Any] = {}
        for key, value in held.items():
            prefix, parent, generation = key.partition(_PARENTS)
            if not parent:
                found[key] = value
            elif prefix + _PARENTS + str(int(generation) + 1) not in held:
                # ids are of this view; of all generations only the last one is asked for again
                found[key] = [numbers[one] for one in value if one in numbers]
        return found

    @system_attrs.setter
    def system_attrs(self, held: Mapping[str, Any]) -> None:
        self._restored.update(held)

    def predicted(self, number: int) -> tuple[float, ...] | None:
        """The values of a training at the top, predicted where it stopped below.

        Returns:
            ``None`` while it has no result, and if it failed.
        """
        training = self.seen[self._first[number]].trainings[number]
        return None if training.failed or not training.rungs else self._predict(training)

    def first(self, number: int) -> int:
        """The number of the first training of the same architecture."""
        return self._first[number]

    def trials(self) -> list[FrozenTrial]:
        """What the sampler is shown, duplicates as FAIL; not to be changed."""
        return self._study.get_trials(deepcopy=False)

    def _enter(self, number: int, frozen: FrozenTrial, group: str | None) -> None:
        if number in self._first:
            raise ValueError(f"a training enters the view once, got number {number} again")
        self._refusal_is_due = True
        first = number if group is None else self._groups.setdefault(group, number)
        self._first[number] = first
        if first == number:
            self.seen[number] = seen_of(frozen)
        self.seen[first].trainings[number] = Training()

    def _frozen(self, trial: Trial) -> FrozenTrial:
        number = trial.number
        return self._storage.get_trial(
            self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        )

    def _note(self, training: Training, rung: int) -> None:
        """Learn from a result; renews what is shown of others when that says enough new."""
        values = training.rungs[rung]
        assert values is not None
        pick = [max if way == "minimize" else min for way in self.directions]
        held = zip(pick, self.worst, values, strict=True)
        worst = [choose(worst, value) for choose, worst, value in held]
        renewed = worst != self.worst
        self.worst = worst
        if 0 < rung == self.n_rungs - 1:
            self._top.append(training)
            if len(self._top) >= RENEWED_AT * self._fitted:
                renewed, self._fitted = True, len(self._top)
                shape = self.n_rungs, len(values)
                self._extrapolation.fit([one.history(*shape) for one in self._top])
        if renewed:
            for seen in [*self.seen.values(), *self._refused]:
                if not seen.is_final(self.n_rungs - 1):
                    self._write(seen, only_values=True)

    def _predict(self, training: Training) -> tuple[float, ...]:
        last = max(training.rungs)
        values = training.rungs[last]
        assert values is not None
        if last == self.n_rungs - 1 or any(one not in training.rungs for one in range(last)):
            return values
        history = np.asarray([training.rungs[one] for one in range(last + 1)], dtype=np.float64)
        return tuple(map(float, self._extrapolation.predict(history[None])[0]))

    def _write(self, seen: Seen, only_values: bool = False) -> FrozenTrial:
        """Show a trial as COMPLETE with what is known of it."""
        if good := seen.good:
            values = np.mean([self._predict(training) for training in good], axis=0).tolist()
        else:
            values = [worst if math.isfinite(worst) else 0.0 for worst in self.worst]
        before = self._storage.get_trial(seen.trial_id)
        if only_values:
            trial = copy.copy(before)
            trial.values = values
        else:
            trial = create_trial(
                state=TrialState.COMPLETE,
                values=values,
                params=seen.params,
                distributions=seen.distributions,
                system_attrs=dict(seen.system_attrs),
                constraints=self._constraints(seen, good),
            )
            trial.number, trial._trial_id = before.number, before._trial_id
            trial.datetime_start = before.datetime_start
        self._storage.replace(trial)
        return trial

    def _constraints(self, seen: Seen, good: Sequence[Training]) -> dict[str, float]:
        """Violations; the same keys in all trials, as samplers want it."""
        found = {FEASIBLE: 0.0 if good else seen.violation}
        for key in self._keys:
            known = [training.constraints.get(key, 0.0) for training in good]
            found[key] = sum(known) / len(known) if known else 0.0
        return found

    def _restore(self) -> None:
        """Hand the sampler what it kept before a restart, now that all trials are there."""
        for key, value in self._restored.items():
            if _PARENTS in key:
                value = [self.seen[one].trial_id for one in value if one in self.seen]
            self._storage.set_study_system_attr(self._study_id, key, value)
        self._restored.clear()


_PARENTS = ":parent:"  # Optuna's NSGA samplers keep the chosen parents of each generation
