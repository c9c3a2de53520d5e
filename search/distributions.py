"""THE place where a space and a recipe become Optuna distributions, and parameters a point again.

What is told to a sampler is what is trained: :func:`suggest` and :func:`replay` are the same walk
over the space, once answered by Optuna and once by the parameters that it stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial, FrozenTrial

from peftnas.search.recipe import Recipe
from peftnas.search.storage.tokens import TOKEN
from peftnas.spaces import Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.dimensions import Dimension, field_dimensions
from peftnas.spaces.domains import Integer, Real
from peftnas.spaces.tree import Ask, Choose, Primitive, draw_fields

RECIPE = "recipe"
_CONSTRAINT = "constraints:"  # how Optuna's own attributes on constraints begin


@dataclass(frozen=True)
class Draw:
    """One point of a study: the raw values by path, and what they stand for."""

    values: dict[str, Primitive]
    architecture: Architecture
    recipe: Recipe


@dataclass(frozen=True)
class Answers:
    """What Optuna keeps of a point: the answers to all active dimensions.

    Attributes:
        parameters: answers by path.
        distributions: what each was drawn from, by the same paths.
        system_attributes: what a sampler notes of its own trial, such as a generation.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    system_attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, trial: FrozenTrial) -> Answers:
        """Those of a stored trial."""
        noted = {
            name: value
            for name, value in trial.system_attrs.items()
            if not name.startswith((_CONSTRAINT, TOKEN))
        }
        return cls(trial.params, trial.distributions, noted)


def dimensions(bound: BoundSpace, recipe: Recipe) -> tuple[Dimension, ...]:
    """Everything that a sampler may be asked for, in the order of the walk."""
    return (*bound.dimensions(), *field_dimensions(recipe, RECIPE))


def draw(bound: BoundSpace, recipe: Recipe, choose: Choose) -> Draw:
    """Walk the space, then the recipe; ``choose`` answers for each active dimension."""
    point = bound.draw(choose)
    values, drawn = draw_fields(recipe, RECIPE, choose)
    return Draw(point.values | values, point.architecture, cast(Recipe, drawn))


def suggest(bound: BoundSpace, recipe: Recipe, trial: BaseTrial) -> Draw:
    """Let the study's sampler answer; the answers become the trial's parameters."""

    def choose(path: str, domain: Ask) -> Primitive:
        match domain:
            case Integer(low, high, log, step):
                return trial.suggest_int(path, low, high, step=step, log=log)
            case Real(low, high, log):
                return trial.suggest_float(path, low, high, log=log)
            case _:
                options = _labels(domain)
                return options[trial.suggest_categorical(path, list(options))]

    return draw(bound, recipe, choose)


def replay(
    bound: BoundSpace, recipe: Recipe, params: Mapping[str, Any], *, flat: bool = False
) -> Draw:
    """The point that the stored parameters of a trial stand for.

    Args:
        bound: the space on its backbone.
        recipe: holding values or domains.
        params: by path.
        flat: whether there may be values for dimensions that are not active at this point, as a
            searcher gives them that knows no conditions.
    Raises:
        ValueError: if a parameter is missing, not asked for, or outside its domain.
    """
    asked = set()

    def choose(path: str, domain: Ask) -> Primitive:
        if path not in params:
            raise ValueError(f"no value for {path}; these parameters are of another space")
        asked.add(path)
        value: Primitive = params[path]
        if isinstance(domain, Integer | Real):
            return value
        labels = _labels(domain)
        if value not in labels:
            options = ", ".join(map(repr, labels))
            raise ValueError(f"{path} must be one of {options}, got {value!r}")
        return labels[value]

    found = draw(bound, recipe, choose)
    if flat:
        asked |= {dimension.path for dimension in dimensions(bound, recipe)}
    if unasked := sorted(set(params) - asked):
        raise ValueError(f"{unasked[0]} is not active at this point; drop it")
    return found


def answers(values: Mapping[str, Primitive], known: Mapping[str, Ask]) -> Answers:
    """What Optuna keeps of a chosen point.

    Args:
        values: raw values by path, as a :class:`Draw` holds them.
        known: the domain of each path.
    """
    return Answers(
        {path: _parameter(value, known[path]) for path, value in values.items()},
        {path: distribution(known[path]) for path in values},
    )


def distribution(domain: Ask) -> BaseDistribution:
    """The Optuna distribution of one dimension; :func:`suggest` draws from the same."""
    match domain:
        case Integer(low, high, log, step):
            return IntDistribution(low, high, log=log, step=step)
        case Real(low, high, log):
            return FloatDistribution(low, high, log=log)
    return CategoricalDistribution(list(_labels(domain)))


def _parameter(value: Primitive, domain: Ask) -> Primitive:
    if isinstance(domain, Integer | Real):
        return value
    return next(
        label
        for label, option in _labels(domain).items()
        if type(option) is type(value) and option == value
    )


def _labels(domain: Ask) -> dict[Primitive, Primitive]:
    """What Optuna chooses among for a ``Choice`` -> the option.

    The options themselves, unless two of them are equal to Python and so to Optuna (1, 1.0 and
    True): then their spellings.
    """
    if isinstance(domain, Integer | Real):
        return {}
    if len(set(domain.options)) == len(domain.options):
        return {option: option for option in domain.options}
    return {repr(option): option for option in domain.options}
