"""Objectives: what a search optimises, in which direction, and what a trial costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from peftnas.search.errors import UsageError
from peftnas.spaces.nearest import did_you_mean

Direction = Literal["maximize", "minimize"]
Source = Literal["exact before training", "predicted, then measured", "measured"]
Kind = Literal["count", "percent", "bytes", "seconds", "fraction"]

# metrics that fall below 0 for a model that is worse than chance
_LOWEST = {"matthews": -1.0, "pearson": -1.0, "spearman": -1.0, "pearson_spearman": -1.0}
_SCALES = {
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")),
    "seconds": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
}


@dataclass(frozen=True)
class Objective:
    """One thing that is measured of every trial and made as large or as small as possible.

    Attributes:
        name: a metric of the task, or a key of ``COSTS``.
        direction: "maximize" or "minimize".
        unit: of the values; "" for a score without unit.
        source: "exact before training", "predicted, then measured" or "measured".
        best: value that no trial beats; bounds the hypervolume.
        worst: value told for a trial whose training failed; no trial is worse.
        log: read on a logarithmic axis (a count).
        floor: on that axis about linear below it: differences there hardly matter.
    """

    name: str
    direction: Direction
    unit: str
    source: Source
    best: float
    worst: float
    log: bool = False
    floor: float = 1.0

    @property
    def words(self) -> str:
        """The name with its unit, for a table's head or an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers: counts of parameters or bytes."""
        return self.name in COSTS and COSTS[self.name].kind in ("count", "bytes")

    @property
    def is_cost(self) -> bool:
        """Whether it is a cost and no metric of the task."""
        return self.name in COSTS

    def unit_cost(self, value: float) -> float:
        """The value between 0 (``best``) and 1 (``worst``), logarithmic for counts.

        A value beyond either end counts as that end.
        """
        best, worst = self.best, self.worst
        value = min(max(value, min(best, worst)), max(best, worst))
        if self.log:
            best, worst, value = (math.log1p(x / self.floor) for x in (best, worst, value))
        return (value - best) / (worst - best)

    def to_dict(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Cost:
    """What a trial costs, in one respect; less is better.

    Attributes:
        title: in a few letters, over a column of :meth:`words`.
        kind: of the values; decides how they are written.
        source: as in :class:`Objective`.
        worst: for a whole backbone; of counts and bytes for each of its parameters.
        unit: of the values.
        floor: as in :class:`Objective`.
    """

    title: str
    kind: Kind
    source: Source
    worst: float
    unit: str = ""
    floor: float = 1.0

    @property
    def by_parameter(self) -> bool:
        """Whether ``worst`` counts for each parameter of the backbone."""
        return self.source == "exact before training" and self.kind in ("count", "bytes")

    def words(self, value: float) -> str:
        """A value for people: ``73,728``, ``0.325 %``, ``1.23 GB``, ``48.2 ms``."""
        if self.kind == "count":
            return f"{value:,.0f}"
        if self.kind in ("percent", "fraction"):
            return f"{value if self.kind == 'percent' else 100 * value:.3g} %"
        scales = _SCALES[self.kind]
        size, unit = next((one for one in scales if abs(value) >= 0.9995 * one[0]), scales[-1])
        return f"{value / size:.3g} {unit}"


_TIME = "of the backbone's time"

COSTS: dict[str, Cost] = {
    "trainable_parameters": Cost("trained", "count", "exact before training", 1.0),
    "trainable_percent": Cost("trained, part", "percent", "exact before training", 100.0, "%"),
    "stored_bytes": Cost("stored", "bytes", "exact before training", 4.0, "bytes"),
    # the largest machines; a trial that failed is told these
    "train_memory_bytes": Cost(
        "train memory", "bytes", "predicted, then measured", 1e12, "bytes", 1e3
    ),
    "train_step_s": Cost("train step", "seconds", "measured", 1e3, "s", 1e-3),
    "inference_overhead": Cost("inference overhead", "fraction", "measured", 10.0, _TIME, 1e-2),
    "decode_overhead": Cost("decode overhead", "fraction", "measured", 10.0, _TIME, 1e-2),
}
"""What a trial costs, by name: see docs/objectives.md.

``train_memory_bytes``: peak memory of a training step. ``train_step_s``: seconds of a training
step, median. ``inference_overhead``: how much longer one text takes than on the bare backbone,
after merging; 0.05 is 5 % more. ``decode_overhead``: the same of one word that a decoder adds.
"""

MEASURED = tuple(name for name, cost in COSTS.items() if cost.source != "exact before training")
"""Costs that a trial measures."""


def objective(
    name: str,
    metrics: Iterable[str],
    backbone_parameters: int,
    directions: Mapping[str, Direction] | None = None,
) -> Objective:
    """The objective called ``name``.

    Args:
        name: a metric of the task, or a cost: see ``COSTS``.
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
        cost = COSTS[name]
        worst = cost.worst * (backbone_parameters if cost.by_parameter else 1)
        log = cost.kind != "percent"
        return Objective(
            name, "minimize", cost.unit, cost.source, 0.0, float(worst), log, cost.floor
        )
    if direction == "minimize":
        return Objective(name, direction, "", "measured", 0.0, 1e6, log=True)
    return Objective(name, direction, "", "measured", 1.0, _LOWEST.get(name, 0.0))


def costs(trainable: int, stored: int, backbone_parameters: int) -> dict[str, float]:
    """The values of all exact costs.

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
