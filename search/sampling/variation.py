"""New points from points that were seen: mutation, crossover, and which parameters are active.

A sampler sees a conditional space only through its trials. A parameter that some trials have and
some lack is explained by the earlier choice that decides it in every trial so far, where there is
one; a proposal that changes this choice is read with the parameters that it would then have.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

Params = dict[str, Any]

_CROSSED = 0.2
"""The part of offspring with two parents."""
_CHANGED_AGAIN = 0.5
"""The chance of one more changed parameter, after each."""
_STEP = 0.2
"""Standard deviation of a number's step, as a part of its domain on its scale."""
_ABSENT = object()


class Variation:
    """Makes new points.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._distributions: dict[str, BaseDistribution] = {}
        self._rules: dict[str, tuple[str, frozenset[Any]]] = {}

    def learn(self, points: Sequence[tuple[Params, Mapping[str, BaseDistribution]]]) -> None:
        """See which parameters there are, and what makes them active.

        Args:
            points: parameters in the order in which they were asked, with their distributions.
        """
        for _, distributions in points:
            self._distributions.update(distributions)
        self._rules.clear()
        for name in self._distributions:
            has = [name in params for params, _ in points]
            if not all(has):
                rule = self._rule(name, has, [params for params, _ in points])
                if rule is not None:
                    self._rules[name] = rule

    def offspring(self, parents: Sequence[Params]) -> Params:
        """A changed copy of a random parent, only its own parameters."""
        draw = self._random
        child = dict(draw.choice(parents))
        names = [name for name in child if name in self._distributions]
        crossed = draw.random() < _CROSSED
        if crossed:
            other = draw.choice(parents)
            child |= {n: other[n] for n in names if n in other and draw.random() < 0.5}
        while names and not crossed:
            name = names.pop(draw.randrange(len(names)))
            child[name] = self._changed(child[name], self._distributions[name])
            if draw.random() > _CHANGED_AGAIN:
                break
        return child

    def completed(self, params: Params) -> Params:
        """A whole point: these parameters where they are active, every other active one drawn.

        Args:
            params: of :meth:`offspring`, or none for a point without parents.
        """
        found: Params = {}
        for name, distribution in self._distributions.items():
            if name in self._rules:
                by, values = self._rules[name]
                if found.get(by, _ABSENT) not in values:
                    continue
            found[name] = params[name] if name in params else drawn(distribution, self._random)
        return found

    def _rule(
        self, name: str, has: Sequence[bool], points: Sequence[Params]
    ) -> tuple[str, frozenset[Any]] | None:
        """The choice that decides whether the parameter is there, and the values with which."""
        for by, distribution in self._distributions.items():
            if by == name:
                return None  # only what was asked before can decide
            if not isinstance(distribution, CategoricalDistribution):
                continue
            values = [params.get(by, _ABSENT) for params in points]
            there = {value for value, present in zip(values, has, strict=True) if present}
            if there.isdisjoint(v for v, present in zip(values, has, strict=True) if not present):
                return by, frozenset(there)
        return None

    def _changed(self, value: Any, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            others = [one for one in distribution.choices if one != value]
            return self._random.choice(others) if others else value
        assert isinstance(distribution, IntDistribution | FloatDistribution)
        place = _place(value, distribution) + self._random.gauss(0, _STEP)
        found = _value(min(max(place, 0.0), 1.0), distribution)
        if found == value and isinstance(distribution, IntDistribution):
            found = value + self._random.choice([-1, 1]) * distribution.step
            found = min(max(found, distribution.low), distribution.high)
        return found


def drawn(distribution: BaseDistribution, draw: random.Random) -> Any:
    """A random value, uniform on the domain's scale."""
    if isinstance(distribution, CategoricalDistribution):
        return draw.choice(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return _value(draw.random(), distribution)


def _ends(distribution: IntDistribution | FloatDistribution) -> tuple[float, float]:
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):
        # each whole number has the same room, the ends too
        half = 0.5 * distribution.step
        low, high = low - half, high + half
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _place(value: float, distribution: IntDistribution | FloatDistribution) -> float:
    low, high = _ends(distribution)
    value = math.log(value) if distribution.log else value
    return (value - low) / (high - low) if high > low else 0.5


def _value(place: float, distribution: IntDistribution | FloatDistribution) -> Any:
    low, high = _ends(distribution)
    value = low + place * (high - low)
    value = math.exp(value) if distribution.log else value
    if distribution.step is not None:
        steps = round((value - distribution.low) / distribution.step)
        value = distribution.low + steps * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return int(value) if isinstance(distribution, IntDistribution) else value
