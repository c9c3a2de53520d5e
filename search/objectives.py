"""Objectives: what a search optimises, in which direction, and constraints on what is exact."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from peftnas.search.errors import UsageError
from peftnas.spaces.nearest import did_you_mean

Direction = Literal["maximize", "minimize"]

# metrics that fall below 0 for a model that is worse than chance
_LOWEST = {"matthews": -1.0, "pearson": -1.0, "spearman": -1.0, "pearson_spearman": -1.0}
_BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class Objective:
    """One thing that is measured of every trial and made as large or as small as possible.

    Attributes:
        name: a metric of the task, or a key of ``COSTS``.
        direction: "maximize" or "minimize".
        unit: of the values; "" for a score without unit.
        source: "exact before training" or "measured".
        best: value that no trial beats; bounds the hypervolume.
        worst: value told for a trial whose training failed; no trial is worse.
        log: read on a logarithmic axis (a count).
    """

    name: str
    direction: Direction
    unit: str
    source: Literal["exact before training", "measured"]
    best: float
    worst: float
    log: bool = False

    @property
    def words(self) -> str:
        """The name with its unit, for a table's head or an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers: counts of parameters or bytes."""
        return self.name in COSTS and self.log

    def unit_cost(self, value: float) -> float:
        """The value between 0 (``best``) and 1 (``worst``), logarithmic for counts.

        A value beyond either end counts as that end.
        """
        best, worst = self.best, self.worst
        value = min(max(value, min(best, worst)), max(best, worst))
        if self.log:
            best, worst, value = math.log1p(best), math.log1p(worst), math.log1p(value)
        return (value - best) / (worst - best)

    def to_dict(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        return asdict(self)


# name -> (unit, worst value for a backbone of n parameters, read on a logarithmic axis)
COSTS: dict[str, tuple[str, float, bool]] = {
    "trainable_parameters": ("", 1.0, True),
    "trainable_percent": ("%", 0.0, False),
    "stored_bytes": ("bytes", 4.0, True),
}


def objective(
    name: str,
    metrics: Iterable[str],
    backbone_parameters: int,
    directions: Mapping[str, Direction] | None = None,
) -> Objective:
    """The objective called ``name``.

    Args:
        name: a metric of the task, ``trainable_parameters``, ``trainable_percent`` (of the
            backbone) or ``stored_bytes`` (what is kept after training).
        metrics: the metrics that the task measures.
        backbone_parameters: of the backbone without head; the worst value of a count.
        directions: of metrics that are not maximised.
    Raises:
        UsageError: if there is no such objective, listing those there are.
    """
    metrics = tuple(metrics)
    if name in metrics or name in COSTS:
        direction = (directions or {}).get(name, "maximize")
        return known_objective(name, direction, backbone_parameters)
    known = [*metrics, *COSTS]
    raise UsageError(
        f"objective must be one of {', '.join(known)} for this task, got {name!r}; "
        f"{did_you_mean(name, known)}"
    )


def known_objective(name: str, direction: Direction, backbone_parameters: int) -> Objective:
    """The objective of a name that was checked: a cost, else a metric of its task.

    Args:
        name: of the objective.
        direction: of a metric; costs are minimised.
        backbone_parameters: of the backbone without head.
    """
    if name in COSTS:
        unit, per_parameter, log = COSTS[name]
        worst = per_parameter * backbone_parameters if per_parameter else 100.0
        return Objective(name, "minimize", unit, "exact before training", 0.0, float(worst), log)
    if direction == "minimize":
        return Objective(name, direction, "", "measured", 0.0, 1e6, log=True)
    return Objective(name, direction, "", "measured", 1.0, _LOWEST.get(name, 0.0))


def costs(trainable: int, stored: int, backbone_parameters: int) -> dict[str, float]:
    """The values of all exact objectives.

    Args:
        trainable: trainable parameters.
        stored: bytes kept after training.
        backbone_parameters: of the backbone without head.
    """
    return {
        "trainable_parameters": trainable,
        "trainable_percent": 100.0 * trainable / backbone_parameters,
        "stored_bytes": stored,
    }


@dataclass(frozen=True)
class Constraint:
    """A bound on an exact objective; a proposal beyond it is refused before training."""

    name: str
    sense: Literal["<=", ">="]
    bound: float
    text: str

    def broken(self, values: Mapping[str, float]) -> str | None:
        """The sentence to record when ``values`` break it, else ``None``."""
        value = values[self.name]
        met = value <= self.bound if self.sense == "<=" else value >= self.bound
        return None if met else f"{self.name} is {value:,.10g}, constraint: {self.text}"


def parse_constraint(text: str) -> Constraint:
    """Read a constraint such as ``"stored_bytes <= 1MB"`` or ``"trainable_percent <= 0.5%"``.

    Raises:
        UsageError: if it is not ``NAME <= VALUE`` or ``NAME >= VALUE`` over an exact objective.
    """
    found = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([0-9][0-9_.,eE+-]*)\s*([A-Za-z%]*)\s*", text)
    if found is None or found[1] not in COSTS:
        raise UsageError(
            f"a constraint must read NAME <= VALUE or NAME >= VALUE with NAME one of "
            f"{', '.join(COSTS)}, got {text!r}; measured quantities cannot be bounded yet"
        )
    name, sense, number, unit = found.groups()
    units = {
        "trainable_parameters": _COUNTS,
        "trainable_percent": {"": 1, "%": 1},
        "stored_bytes": _BYTES | {"": 1},
    }[name]
    if unit not in units:
        known = ", ".join(key or "none" for key in units)
        raise UsageError(f"constraint {text!r}: the unit must be one of {known}, got {unit!r}")
    try:
        bound = float(number.replace(",", "").replace("_", "")) * units[unit]
    except ValueError as error:
        raise UsageError(f"constraint {text!r}: {number!r} is not a number") from error
    return Constraint(name, "<=" if sense == "<=" else ">=", bound, text.strip())
