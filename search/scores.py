"""From what a trial measured to what the study is told: values, constraints, reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from peftnas.search.constraints import Constraint
from peftnas.search.jobs import TrialResult
from peftnas.search.objectives import COSTS, MEASURED, Objective, costs
from peftnas.search.outcomes import FEASIBLE


@dataclass(frozen=True)
class Score:
    """What a result means for its study.

    Attributes:
        result: as it is recorded: failed, if the task did not measure every objective.
        values: one an objective; the worst ones if it failed.
        constraints: violations by key, met where <= 0.
        over: a sentence for each constraint that a measured cost breaks.
    """

    result: TrialResult
    values: list[float]
    constraints: dict[str, float]
    over: list[str]

    @property
    def failed(self) -> bool:
        return self.result.status == "failed"


class Scorer:
    """Scores the results of one study.

    Args:
        objectives: in the order of the study's directions.
        backbone_parameters: of the backbone without head.
        constraints: of the study; those on measured costs count here.

    Attributes:
        measure: names of the measured costs that objectives or constraints ask for.
    """

    def __init__(
        self,
        objectives: Sequence[Objective],
        backbone_parameters: int,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self.objectives = tuple(objectives)
        self._backbone_parameters = backbone_parameters
        self._constraints = tuple(known for known in constraints if known.measured)
        asked = {goal.name for goal in self.objectives}
        asked |= {limit.name for limit in self._constraints}
        self.measure = tuple(name for name in MEASURED if name in asked)

    def score(self, result: TrialResult) -> Score:
        """What a result means: of a whole training, or of a part of it up to a rung."""
        result = self._checked(result)
        failed = result.status == "failed"
        constraints = {FEASIBLE: 1.0 if failed else 0.0}
        for limit in self._constraints:
            # samplers want the same keys in all trials; what was not measured was not met
            known = limit.name in result.measured
            constraints[limit.text] = (
                limit.violation(result.measured[limit.name]) if known else 1.0
            )
        broken = () if failed else (limit.broken(result.measured) for limit in self._constraints)
        over = [sentence for sentence in broken if sentence is not None]
        return Score(result, self._values(result), constraints, over)

    def _checked(self, result: TrialResult) -> TrialResult:
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
        exact = costs(result.trainable_parameters, result.stored_bytes, self._backbone_parameters)
        measured = result.metrics | result.measured | exact
        return [float(measured[objective.name]) for objective in self.objectives]


def reason_of(result: TrialResult) -> str:
    """One line for tables; the whole traceback stays in the result."""
    lines = result.error.strip().splitlines() or ["no message"]
    return f"{result.cause}: {lines[-1]}"
