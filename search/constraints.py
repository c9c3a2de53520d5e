"""Constraints: bounds on costs, refused before training or told to the sampler after it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from peftnas.search.errors import UsageError
from peftnas.search.objectives import COSTS, Kind
from peftnas.spaces.nearest import did_you_mean
from peftnas.spaces.units import BYTES

_UNITS: dict[Kind, dict[str, float]] = {
    "count": {"": 1, "k": 10**3, "M": 10**6, "B": 10**9},
    "percent": {"": 1, "%": 1},
    "bytes": {**BYTES, "TB": 10**12, "TiB": 2**40, "": 1},
    "seconds": {"s": 1, "ms": 1e-3, "us": 1e-6, "": 1},
    "fraction": {"%": 1e-2, "": 1},
}

_MICROSECONDS = ("\u00b5s", "\u03bcs")  # two letters that look the same
_EXAMPLES: dict[Kind, str] = {
    "count": "10000 or 10k",
    "percent": "0.5 or 0.5%",
    "bytes": "8GB or 8.5GB",
    "seconds": "50ms or 0.5s",
    "fraction": "0.05 or 5%",
}

# 0,500 is half of something to many, so no group of thousands begins with 0
_NUMBER = re.compile(
    r"(\d+|[1-9]\d{0,2}(,\d{3})+|[1-9]\d{0,2}(_\d{3})+|(?=\.\d))(\.\d*)?([eE][+-]?\d+)?"
)


@dataclass(frozen=True)
class Constraint:
    """A bound on a cost.

    Of an exact cost, or of predicted memory, a proposal beyond it is refused before training. What
    is measured is told to the sampler; a trial beyond it is on no front.
    """

    name: str
    sense: Literal["<=", ">="]
    bound: float
    text: str

    @property
    def measured(self) -> bool:
        """Whether a trial has to be trained to be sure."""
        return COSTS[self.name].source != "exact before training"

    @property
    def predicted(self) -> bool:
        """Whether a proposal can be refused by a prediction."""
        return self.sense == "<=" and COSTS[self.name].source == "predicted, then measured"

    @property
    def wants_merging(self) -> bool:
        """Whether it allows no overhead at all, which only what merges has."""
        return self.sense == "<=" and self.bound == 0 and COSTS[self.name].kind == "fraction"

    def violation(self, value: float) -> float:
        """By how much a value is beyond the bound, as a part of it; not above 0: it meets it."""
        beyond = value - self.bound if self.sense == "<=" else self.bound - value
        return beyond / (abs(self.bound) or 1.0)

    def broken(self, values: Mapping[str, float], verb: str = "is") -> str | None:
        """The sentence to record when ``values`` break it, else ``None``."""
        value = values[self.name]
        if self.violation(value) <= 0:
            return None
        words = COSTS[self.name].words(value) if self.measured else f"{value:,.10g}"
        return f"{self.name} {verb} {words}, constraint: {self.text}"


def parse_constraint(text: str, metrics: Sequence[str] = ()) -> Constraint:
    """Read a constraint such as ``"train_memory_bytes <= 8GB"`` or ``"train_step_s <= 50ms"``.

    Units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB of bytes; s, ms, us, µs of seconds; k, M, B of
    counts; % of overheads (``"inference_overhead <= 5%"``, the same as ``0.05``) and of
    ``trainable_percent``. Without a unit: bytes, seconds, a count, a fraction, percent. Commas or
    underscores may stand between thousands.

    Args:
        text: to read.
        metrics: of the task, which cannot be bounded.
    Raises:
        UsageError: if it is not ``NAME <= VALUE`` or ``NAME >= VALUE`` over a cost, with a finite
            value from 0 on.
    """
    name, sense, value = _parts(text, metrics)
    found = re.fullmatch(r"(\S*?)\s*([^\W\d_]*|%)", value)
    number, unit = (value, "") if found is None else found.groups()
    unit = "us" if unit in _MICROSECONDS else unit
    units = _UNITS[COSTS[name].kind]
    bound = math.inf
    if _NUMBER.fullmatch(number):
        bound = float(number.replace(",", "").replace("_", "")) * units.get(unit, 1)
    if not math.isfinite(bound):
        raise UsageError(
            f"constraint {text!r}: the bound must be a finite number from 0 on, with a point "
            f"before decimals, got {value!r}; write it such as {_EXAMPLES[COSTS[name].kind]}"
        )
    if unit not in units:
        known = ", ".join(key or "none" for key in units)
        raise UsageError(
            f"constraint {text!r}: the unit must be one of {known}, got {unit!r}; take one of "
            "these"
        )
    return Constraint(name, sense, bound, text.strip())


def _parts(text: str, metrics: Sequence[str]) -> tuple[str, Literal["<=", ">="], str]:
    """Name, sense and the rest of a constraint."""
    found = re.fullmatch(r"\s*(\w+)\s*([<>=!]+)\s*(.*?)\s*", text)
    if found is not None and found[1] in metrics:
        raise UsageError(
            f"a constraint bounds a cost, but {found[1]} is a metric of the task, got {text!r}; "
            f"make {found[1]} an objective, and take the points of the front that reach the value"
        )
    if found is None or found[1] not in COSTS:
        last = re.split(r"[<>=]+", text)[-1].strip()
        near = did_you_mean("" if found is None else found[1], COSTS)
        remedy = f"put {last} first" if found is not None and last in COSTS else near
        raise UsageError(
            f"a constraint must read NAME <= VALUE or NAME >= VALUE with NAME one of "
            f"{', '.join(COSTS)}, got {text!r}; {remedy}"
        )
    name, sense, value = found.groups()
    if sense == "<=":
        return name, "<=", value
    if sense == ">=":
        return name, ">=", value
    meant = ">=" if ">" in sense else "<="
    raise UsageError(
        f"constraint {text!r}: its sign must be <= or >=, got {sense!r}; write {name} {meant} "
        f"{value}"
    )
