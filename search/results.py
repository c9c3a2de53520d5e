"""A stored study as plain rows, for tables, reports and decisions. Needs no torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import numpy as np
from optuna.trial import FrozenTrial

from peftnas.search.errors import UsageError
from peftnas.search.objectives import MEASURED, Objective, costs, known_objective
from peftnas.search.outcomes import LOSSES, Outcome, outcome, rungs_of
from peftnas.search.pareto import hypervolume, hypervolumes, minimised, non_dominated
from peftnas.search.storage import (
    CONTENT,
    FACTS,
    TEST_LOOKS,
    StudyStorage,
    open_storage,
    stored_content,
    study_names,
)

BASELINES = "/baselines"  # their study is named after the search's

BRIEF = ("ready", "reason", "given_up", "over", LOSSES, "baseline")
"""User attributes of a trial that say how it ended; all of them are short."""


@dataclass(frozen=True)
class TrialRow:
    """One trial, as plain values.

    Attributes:
        number: of the trial in its study.
        state: "complete", "stopped" (by halving, at a rung), "failed" (its training failed),
            "refused" (never trained), "enqueued" (by hand), "running".
        values: each objective by name; empty unless complete.
        words: the architecture in one readable line; "" when refused.
        architecture: canonical, as ``Architecture.to_dict``; ``None`` when refused.
        recipe: as ``Recipe.to_dict``; empty when refused.
        params: what the sampler was told, by path.
        metrics: every metric of the task at the last step.
        curve: one entry an evaluation: ``step``, ``loss`` and every metric.
        losses: training loss of every step.
        timing: seconds; see ``jobs.TIMES``.
        trainable_parameters: head excluded.
        stored_bytes: kept after folding, head excluded.
        head_parameters: of the head.
        reason: why it failed or was refused; "" otherwise.
        error: the whole message or traceback of a failed training.
        seed: everything random in it came from this.
        train_key: equal for architectures that train the same.
        machine_losses: how often it was lost with its worker, or for want of memory.
        baseline: name of the baseline; ``None`` for a trial of the search.
        started: when it was proposed, ISO 8601 with seconds; "" when unknown.
        finished: when it ended; "" while it is running.
        costs: everything that a finished training cost, exact and measured, by name; see
            ``objectives.COSTS``.
        over: a sentence for each constraint that it was measured to break; with any, it is on no
            front.
        arms: key of the training settings of its methods; "" where all train by the recipe.
        rungs: what it reached at each rung below the whole training, lowest first: ``step``,
            ``values`` of the objectives by name.
    """

    number: int
    state: Outcome
    values: dict[str, float]
    words: str
    architecture: dict[str, Any] | None
    recipe: dict[str, Any]
    params: dict[str, Any]
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    losses: list[float]
    timing: dict[str, float]
    trainable_parameters: int
    stored_bytes: int
    head_parameters: int
    reason: str
    error: str
    seed: int | None
    train_key: str
    machine_losses: int
    baseline: str | None
    started: str
    finished: str
    costs: dict[str, float] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    arms: str = ""
    rungs: tuple[dict[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class StudyResults:
    """A study as it was stored at one moment.

    Attributes:
        name: of the study.
        objectives: in the order of the study.
        content: what it explores (``Study.to_dict``).
        facts: what a report says besides: backbone, data, machine, timing of the last run;
            ``test_looks``: when the test split was looked at, for which trial, the scores.
        trials: every trial of the search by number.
        baselines: the untuned baselines; skipped ones are "refused" with the reason.
    """

    name: str
    objectives: tuple[Objective, ...]
    content: dict[str, Any]
    facts: dict[str, Any]
    trials: tuple[TrialRow, ...]
    baselines: tuple[TrialRow, ...] = ()

    @property
    def finished(self) -> tuple[TrialRow, ...]:
        """The trials that were trained whole and measured."""
        return tuple(row for row in self.trials if row.state == "complete")

    def counts(self) -> dict[str, int]:
        """How many trials are in each state; every state is named."""
        found = Counter(row.state for row in self.trials)
        return {state: found[state] for state in get_args(Outcome)}

    def front(self) -> tuple[TrialRow, ...]:
        """The finished trials that no other dominates, by the last objective, then by number.

        A trial over a constraint is not among them.
        """
        rows = tuple(row for row in self.finished if not row.over)
        on_front = non_dominated(self.points(rows))
        last = self.objectives[-1].name
        kept = [row for row, keep in zip(rows, on_front, strict=True) if keep]
        return tuple(sorted(kept, key=lambda row: (row.values[last], row.number)))

    def hypervolume(self) -> list[float]:
        """Share of the objective space that is dominated after each finished trial, in [0, 1].

        Each objective counts from its worst value (0) to its best (1), counts of parameters and
        bytes on a logarithmic scale; so the figure of two studies on one backbone compare. A
        trial over a constraint adds nothing.
        """
        places = self._places()
        return hypervolumes(places, np.ones(len(self.objectives)))

    def hypervolume_reached(self) -> float:
        """The last value of :meth:`hypervolume`, without those before; 0.0 without a trial."""
        return hypervolume(self._places(), np.ones(len(self.objectives)))

    def _places(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Costs of the finished trials in [0, 1], those over a constraint at the worst place."""
        places = [
            [
                1.0 if row.over else objective.unit_cost(row.values[objective.name])
                for objective in self.objectives
            ]
            for row in self.finished
        ]
        return np.asarray(places, dtype=np.float64).reshape(-1, len(self.objectives))

    def points(self, rows: tuple[TrialRow, ...]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Objective values of complete rows, turned so that smaller is better; shape (n, m)."""
        values = [[row.values[objective.name] for objective in self.objectives] for row in rows]
        return minimised(values, [objective.direction for objective in self.objectives])

    def measured_costs(self) -> tuple[str, ...]:
        """Measured costs beside the objectives that some row has, in the order of ``COSTS``."""
        goals = {objective.name for objective in self.objectives}
        found = {name for row in (*self.trials, *self.baselines) for name in row.costs}
        return tuple(name for name in MEASURED if name in found - goals)

    def trial(self, number: int) -> TrialRow:
        """The trial with this number.

        Raises:
            UsageError: if there is none.
        """
        if not 0 <= number < len(self.trials):
            raise UsageError(
                f"study {self.name!r} has trials 0 to {len(self.trials) - 1}, got {number}"
                if self.trials
                else f"study {self.name!r} has no trials yet, got {number}; run it first"
            )
        return self.trials[number]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return asdict(self)


def open_results(storage_url: str, name: str, *, whole: bool = True) -> StudyResults:
    """Read a study and its baselines; the study may be running at the same time.

    Args:
        storage_url: such as ``sqlite:///runs/a/study.db``.
        name: of the study.
        whole: whether every row is read whole. If not, those that are not on the front hold their
            number, state, values, reason, limits that they are over, and times: several times
            faster for thousands of trials.
    Raises:
        UsageError: if the storage cannot be opened, or holds no such study.
    """
    return read_results(open_storage(storage_url), name, whole=whole)


def read_results(storage: StudyStorage, name: str, *, whole: bool = True) -> StudyResults:
    """As :func:`open_results`, from an open storage."""
    content = stored_content(storage, name)
    if content is None:
        known = [known for known in study_names(storage) if not known.endswith(BASELINES)]
        there = f"it holds {', '.join(known)}" if known else "it holds none yet; run the study"
        raise UsageError(f"the storage has no study {name!r}; {there}")
    parameters = content["backbone"]["parameters"]
    objectives = tuple(
        known_objective(kept["name"], kept["direction"], parameters)
        for kept in content["objectives"]
    )

    def rows(study_id: int, **which: Any) -> tuple[TrialRow, ...]:
        trials = storage.read_trials(study_id, **which)
        return tuple(_row(trial, objectives, parameters) for trial in trials)

    baselines: tuple[TrialRow, ...] = ()
    if stored_content(storage, name + BASELINES) is not None:
        baselines = _last_of_each(rows(storage.get_study_id_from_name(name + BASELINES)))
    study_id = storage.get_study_id_from_name(name)
    attributes = storage.get_study_user_attrs(study_id)
    results = StudyResults(
        name,
        objectives,
        attributes[CONTENT],
        attributes.get(FACTS, {}) | {"test_looks": attributes.get(TEST_LOOKS, [])},
        rows(study_id, only=None if whole else BRIEF),
        baselines,
    )
    if whole:
        return results
    front = rows(study_id, numbers=[row.number for row in results.front()])
    whole_rows = {row.number: row for row in front}
    trials = tuple(whole_rows.get(row.number, row) for row in results.trials)
    return replace(results, trials=trials)


def _last_of_each(rows: tuple[TrialRow, ...]) -> tuple[TrialRow, ...]:
    """One row a baseline: what came of its last attempt. One that died inside ask has no name."""
    last = {row.baseline: row for row in rows if row.baseline is not None}
    return tuple(sorted(last.values(), key=lambda row: row.number))


def _row(
    trial: FrozenTrial, objectives: tuple[Objective, ...], backbone_parameters: int
) -> TrialRow:
    kept = trial.user_attrs
    result = kept.get("result") or {}
    state = outcome(trial)
    values: dict[str, float] = {}
    names = [objective.name for objective in objectives]
    if state == "complete":
        values = dict(zip(names, trial.values, strict=True))
    started, finished = trial.datetime_start, trial.datetime_complete
    return TrialRow(
        number=trial.number,
        state=state,
        values=values,
        words=kept.get("words", ""),
        architecture=kept.get("architecture"),
        recipe=kept.get("recipe", {}),
        params=dict(trial.params),
        metrics=result.get("metrics", {}),
        curve=result.get("curve", []),
        losses=result.get("losses", []),
        timing=result.get("timing", {}),
        trainable_parameters=result.get("trainable_parameters", 0),
        stored_bytes=result.get("stored_bytes", 0),
        head_parameters=result.get("head_parameters", 0),
        reason=kept.get("reason", ""),
        error=result.get("error", ""),
        seed=kept.get("seed"),
        train_key=kept.get("train_key", ""),
        machine_losses=sum(kept.get(LOSSES, {}).values()),
        baseline=kept.get("baseline"),
        started=started.isoformat(timespec="seconds") if started else "",
        finished=finished.isoformat(timespec="seconds") if finished else "",
        costs=_costs(result, backbone_parameters),
        over=tuple(kept.get("over", ())),
        arms=kept.get("arms", ""),
        rungs=tuple(
            {
                "step": entry["step"],
                "values": dict(zip(names, entry["values"], strict=True)),
            }
            for entry in rungs_of(trial)
        ),
    )


def _costs(result: dict[str, Any], backbone_parameters: int) -> dict[str, float]:
    """Costs of a training that got so far; those of another one are not known."""
    trainable, stored = result.get("trainable_parameters", 0), result.get("stored_bytes", 0)
    if result.get("status") != "complete":
        return {}
    exact = costs(trainable, stored, backbone_parameters)
    return exact | dict(result.get("measured", {}))
