"""Tables of learning curves: what a simulated trial answers instead of training.

A table is one ``.npz`` file of four arrays, so that any other can take its place (``--table``):

- ``fields``: a JSON text, a list of the dimensions in the order in which they are asked, each
  ``{"name": str, "options": [...], "ordered": bool, "when": {name: [options]} or null}``.
  ``ordered`` says that the options are a scale (an ``Integer`` domain), else they are a choice.
  ``when`` says which options of earlier fields make this one active; ``null``: always.
- ``points``: integers (n, fields), the index of each field's option, -1 where it is not active.
- ``parameters``: (n,), trainable parameters, each at least 1. Exact, known at every step.
- ``errors``: (shapes, n, steps), what validation after each step gives, smaller is better, finite.
  Row ``s`` is one shape of the front; the last step is what counts.
- ``shapes``: a JSON text, the list of their names.

Not every combination has to be in the table: one that is not stands for the nearest row.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import Trial

from peftnas.search.errors import UsageError

Array = NDArray[np.float64]
KEPT = Path(__file__).with_name("table.npz")
ARRAYS = ("fields", "points", "parameters", "errors", "shapes")


@dataclass(frozen=True)
class Field:
    """One dimension.

    Attributes:
        name: as Optuna knows it.
        options: at least one.
        ordered: whether they are a scale.
        when: options of earlier fields that make it active; empty: always.
    """

    name: str
    options: tuple[Any, ...]
    ordered: bool
    when: dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Table:
    """All learning curves, in memory; see the head of this file.

    Attributes:
        fields: in the order in which they are asked.
        points: shape (n, fields), indices of options, -1 where not active.
        parameters: shape (n,).
        errors: shape (shapes, n, steps).
        shapes: names of the fronts' shapes.
    """

    fields: tuple[Field, ...]
    points: NDArray[np.int64]
    parameters: Array
    errors: Array
    shapes: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Of a full trial."""
        return int(self.errors.shape[2])

    @cached_property
    def costs(self) -> Array:
        """Shape (n,): the logarithm of the parameters, 0 for the fewest and 1 for the most."""
        logs = np.log(self.parameters)
        return np.asarray((logs - logs.min()) / max(float(np.ptp(logs)), 1e-12))

    def curves(self, shape: str) -> Array:
        """Shape (n, steps): errors, 0 for the best at the last step and 1 for the worst there.

        Args:
            shape: one of ``shapes``.
        """
        errors = self.errors[self.shapes.index(shape)]
        last = errors[:, -1]
        return np.asarray((errors - last.min()) / max(float(np.ptp(last)), 1e-12))

    def suggest(self, trial: Trial) -> int:
        """Let a sampler answer field by field; the row that its answers stand for."""
        chosen: dict[str, Any] = {}
        indices = []
        for field in self.fields:
            if any(chosen.get(name) not in options for name, options in field.when.items()):
                indices.append(-1)
                continue
            index = _ask(trial, field)
            indices.append(index)
            chosen[field.name] = field.options[index]
        return self.row(tuple(indices))

    def parameters_of(self, row: int) -> tuple[dict[str, int], dict[str, BaseDistribution]]:
        """A row as a sampler would have suggested it: parameters and their distributions."""
        params, distributions = {}, {}
        for field, index in zip(self.fields, self.points[row].tolist(), strict=True):
            if index >= 0 and len(field.options) > 1:
                params[field.name] = index
                distributions[field.name] = _distribution(field)
        return params, distributions

    def row(self, indices: tuple[int, ...]) -> int:
        """The row of a combination; of one that is not in the table, the nearest."""
        if indices not in self._rows:
            asked = np.asarray(indices)
            differs = (self.points < 0) != (asked < 0)
            scale = [max(1, len(field.options) - 1) for field in self.fields]
            gaps = np.where(differs, 2.0, np.abs(self.points - asked) / np.asarray(scale))
            self._rows[indices] = int(np.argmin(gaps.sum(axis=1)))
        found = self._rows[indices]
        return found

    @cached_property
    def _rows(self) -> dict[tuple[int, ...], int]:
        return {tuple(map(int, point)): row for row, point in enumerate(self.points)}


def _distribution(field: Field) -> BaseDistribution:
    last = len(field.options) - 1
    if field.ordered:
        return IntDistribution(0, last)
    return CategoricalDistribution(range(last + 1))


def _ask(trial: Trial, field: Field) -> int:
    last = len(field.options) - 1
    if last == 0:
        return 0
    if field.ordered:
        return trial.suggest_int(field.name, 0, last)
    return int(trial.suggest_categorical(field.name, range(last + 1)))


def load(path: Path = KEPT) -> Table:
    """Read and check a table.

    Raises:
        UsageError: if the file is not one, saying what is wrong with it.
    """
    if not path.is_file():
        raise UsageError(
            f"a table must be an .npz file, got {path}, which is none; check the path"
        )
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in ARRAYS if name in held}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"a table must be an .npz file of arrays without pickles, got {path} ({error}); "
            "write it with numpy.savez_compressed"
        ) from error
    if lacking := [name for name in ARRAYS if name not in arrays]:
        raise _wrong(path, f"hold {', '.join(ARRAYS)}", f"no {', '.join(lacking)}")
    return _checked(path, arrays)


def _checked(path: Path, arrays: dict[str, NDArray[Any]]) -> Table:
    try:
        shapes = tuple(map(str, json.loads(str(arrays["shapes"]))))
        fields = tuple(_field(one) for one in json.loads(str(arrays["fields"])))
        points = np.asarray(arrays["points"], dtype=np.int64)
        parameters = np.asarray(arrays["parameters"], dtype=np.float64)
        errors = np.asarray(arrays["errors"], dtype=np.float64)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong(path, "follow the format in its docstring", f"{error!r}") from error
    rules = (
        ("hold at least two points", len(points) >= 2, f"{len(points)}"),
        (
            "give each field's option of each point",
            points.shape == (len(points), len(fields)),
            f"points of shape {points.shape} for {len(fields)} fields",
        ),
        (
            "give parameters of each point",
            parameters.shape == points.shape[:1],
            f"{parameters.shape}",
        ),
        (
            "give errors as (shapes, points, steps), with two steps or more",
            errors.ndim == 3
            and errors.shape[:2] == (len(shapes), len(points))
            and errors.shape[2] > 1,
            f"{errors.shape} for {len(shapes)} shapes and {len(points)} points",
        ),
        ("hold finite errors", bool(np.isfinite(errors).all()), "NaN or infinity"),
        (
            "count at least one parameter a point",
            bool((parameters >= 1).all() and np.isfinite(parameters).all()),
            f"{parameters.min() if parameters.size else 'none'}",
        ),
    )
    for rule, kept, found in rules:
        if not kept:
            raise _wrong(path, rule, found)
    table = Table(fields, points, parameters, errors, shapes)
    _check_points(path, table)
    return table


def _check_points(path: Path, table: Table) -> None:
    for column, field in enumerate(table.fields):
        indices = table.points[:, column]
        if indices.min() < -1 or indices.max() >= len(field.options):
            raise _wrong(
                path, f"index the {len(field.options)} options of {field.name}", f"{indices.max()}"
            )
        active = np.ones(len(indices), dtype=bool)
        for name, options in field.when.items():
            known = [one.name for one in table.fields[:column]]
            if name not in known:
                raise _wrong(path, f"let {field.name} depend on earlier fields", repr(name))
            other = table.fields[known.index(name)].options
            allowed = [index for index, option in enumerate(other) if option in options]
            active &= np.isin(table.points[:, known.index(name)], allowed)
        if ((indices >= 0) != active).any():
            row = int(np.flatnonzero((indices >= 0) != active)[0])
            raise _wrong(path, f"use {field.name} just where it is active", f"another row {row}")
    if len(np.unique(table.points, axis=0)) < len(table.points):
        raise _wrong(path, "hold no point twice", "repeated points")


def _field(one: dict[str, Any]) -> Field:
    options = tuple(_frozen(option) for option in one["options"])
    if not options:
        raise ValueError(f"field {one['name']!r} has no options")
    when = {
        str(name): tuple(_frozen(option) for option in allowed)
        for name, allowed in (one.get("when") or {}).items()
    }
    return Field(str(one["name"]), options, bool(one["ordered"]), when)


def _frozen(option: Any) -> Any:
    return tuple(map(_frozen, option)) if isinstance(option, list) else option


def _wrong(path: Path, rule: str, found: str) -> UsageError:
    return UsageError(
        f"table {path} must {rule}, got {found}; see studies/benchmarks/halving/table.py"
    )


def correlations_with_top(curves: Array) -> Array:
    """Spearman's rank correlation of each step's errors with those of the last step.

    Args:
        curves: shape (n, steps).
    Returns:
        Shape (steps,).
    """
    order = np.argsort(np.argsort(curves, axis=0), axis=0).astype(np.float64)
    order -= order.mean(axis=0)
    norms = np.sqrt((order**2).sum(axis=0))
    return np.asarray(order.T @ order[:, -1] / np.maximum(norms * norms[-1], math.ulp(1.0)))
