"""Domains: what one field of a method, a recipe or a space can be drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from peftnas.spaces.values import is_finite

T = TypeVar("T", covariant=True)


class Domain(Generic[T]):
    """Something that a value is drawn from. A field of a method holds a value or a domain."""


@dataclass(frozen=True)
class Integer(Domain[int]):
    """Whole numbers ``low, low + step, ...`` up to ``high`` (inclusive).

    Args:
        low: smallest value.
        high: largest value; ``high - low`` must be a multiple of ``step``.
        log: draw uniformly in the logarithm; needs ``low >= 1`` and ``step == 1``.
        step: distance of neighbouring values, at least 1.
    Raises:
        ValueError: if the bounds are crossed, off the step grid, or not positive with ``log``.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(
                    f"Integer needs whole numbers, got {name}={value!r}; use Real for fractions"
                )
        if self.low > self.high:
            raise ValueError(
                f"Integer needs low <= high, got low={self.low}, high={self.high}; swap them"
            )
        if self.step < 1 or (self.high - self.low) % self.step:
            raise ValueError(
                "Integer needs step >= 1 that divides high - low, got "
                f"step={self.step} for {self.low}..{self.high}; change high or step"
            )
        _check_flag("Integer", self.log)
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError(
                "Integer with log=True needs low >= 1 and step=1, got "
                f"low={self.low}, step={self.step}; start at 1 (Maybe(...) expresses absence)"
            )

    def __len__(self) -> int:
        return (self.high - self.low) // self.step + 1

    def values(self) -> Iterator[int]:
        return iter(range(self.low, self.high + 1, self.step))

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int)
            and value.__class__ is not bool
            and self.low <= value <= self.high
            and (self.step == 1 or (value - self.low) % self.step == 0)
        )


@dataclass(frozen=True)
class Real(Domain[float]):
    """Real numbers from ``low`` to ``high`` (both inclusive).

    Args:
        low: smallest value.
        high: largest value, above ``low``.
        log: draw uniformly in the logarithm; needs ``low > 0``.
    Raises:
        ValueError: if the bounds are crossed, not finite, or not positive with ``log``.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(
                    f"Real needs numbers, got {name}={value!r}; give the smallest and the largest"
                )
        if not (is_finite(self.low) and is_finite(self.high) and self.low < self.high):
            raise ValueError(
                f"Real needs finite low < high, got low={self.low}, high={self.high}; "
                "hold the value itself if only one is wanted"
            )
        _check_flag("Real", self.log)
        if self.log and self.low <= 0:
            raise ValueError(
                f"Real with log=True needs low > 0, got low={self.low}; raise it or drop log"
            )

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )


class Choice(Domain[Any]):
    """One of the given options: plain values, whole methods, ``None``, or further domains.

    Raises:
        ValueError: if there is no option, or one twice.
    """

    options: tuple[Any, ...]

    def __init__(self, *options: Any) -> None:
        if not options:
            raise ValueError("Choice needs at least one option, got none; name the options")
        options = tuple(tuple(one) if isinstance(one, list) else one for one in options)
        # compared with their type, since 1 == True == 1.0
        seen: list[tuple[type, Any]] = []
        for option in options:
            if (type(option), option) in seen:
                raise ValueError(f"Choice needs distinct options, got {option!r} twice; drop one")
            seen.append((type(option), option))
        self.options = options

    def __contains__(self, value: object) -> bool:
        """Whether ``value`` is one of the options, or lies in an option that is a domain."""
        kind = value.__class__
        for option in self.options:
            if option.__class__ is kind and value == option:
                return True
        nested = [one for one in self.options if isinstance(one, Integer | Real | Choice | Subset)]
        return any(value in one for one in nested)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and _typed(self.options) == _typed(other.options)

    def __hash__(self) -> int:
        return hash(("Choice", self.options))

    def __repr__(self) -> str:
        return f"Choice({', '.join(map(repr, self.options))})"


class Subset(Domain[tuple[Any, ...]]):
    """Some of the given items, in the order given, ``min_size`` to ``max_size`` of them.

    ``Subset.of_layers()`` stands for a subset of the backbone's layers, known once the space is
    bound to a backbone.

    Raises:
        ValueError: if an item appears twice, or the sizes do not fit the number of items.
    """

    items: tuple[Any, ...]
    min_size: int
    max_size: int | None
    layers: bool

    def __init__(self, *items: str | int, min_size: int = 1, max_size: int | None = None) -> None:
        if not items:
            raise ValueError(
                "Subset needs at least one item, got none; name the items or use "
                "Subset.of_layers()"
            )
        for item in items:
            if not isinstance(item, str | int):
                raise ValueError(
                    f"Subset needs names or layer numbers, got {item!r}; list them one by one: "
                    'Subset("query", "value")'
                )
        _check_min_size(min_size)
        if len(set(items)) != len(items):
            raise ValueError(f"Subset needs distinct items, got {items!r}; drop the repeated one")
        if not 0 <= min_size <= len(items):
            raise ValueError(
                f"Subset needs 0 <= min_size <= {len(items)} (its items), got {min_size}; "
                f"{'raise' if min_size < 0 else 'lower'} it"
            )
        _check_max_size(max_size, min_size, len(items))
        self.items, self.min_size, self.layers = items, min_size, False
        self.max_size = None if max_size == len(items) else max_size

    @property
    def most(self) -> int:
        """Items of the largest subset."""
        return len(self.items) if self.max_size is None else self.max_size

    def __len__(self) -> int:
        """How many subsets there are."""
        sizes = range(self.min_size, self.most + 1)
        return sum(math.comb(len(self.items), size) for size in sizes)

    @classmethod
    def of_layers(cls, min_size: int = 1, max_size: int | None = None) -> Subset:
        """A subset of all layers of the backbone that the space is bound to.

        Args:
            min_size: smallest number of layers, at least 0.
            max_size: largest number; ``None``: all of them.
        """
        _check_min_size(min_size)
        if min_size < 0:
            raise ValueError(
                f"Subset.of_layers needs min_size >= 0, got {min_size}; raise it to 0 or more"
            )
        _check_max_size(max_size, min_size, None)
        subset = cls.__new__(cls)
        subset.items, subset.min_size, subset.layers = (), min_size, True
        subset.max_size = max_size
        return subset

    def bind(self, n_layers: int) -> Subset:
        """The subset over concrete layers ``0 .. n_layers - 1``; itself when not of layers."""
        if not self.layers:
            return self
        if self.min_size > n_layers:
            raise ValueError(
                f"Subset.of_layers needs min_size <= {n_layers} (the backbone's layers), got "
                f"{self.min_size}; lower it"
            )
        max_size = None if self.max_size is None else min(self.max_size, n_layers)
        return Subset(*range(n_layers), min_size=self.min_size, max_size=max_size)

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, tuple)
            and self.min_size <= len(value) <= self.most
            and value == tuple(item for item in self.items if item in value)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subset) and self._state() == other._state()

    def __hash__(self) -> int:
        return hash(self._state())

    def __repr__(self) -> str:
        sizes = [] if self.min_size == 1 else [f"min_size={self.min_size}"]
        sizes += [] if self.max_size is None else [f"max_size={self.max_size}"]
        if self.layers:
            return f"Subset.of_layers({', '.join(sizes)})"
        return f"Subset({', '.join([*map(repr, self.items), *sizes])})"

    def _state(self) -> tuple[Any, ...]:
        return (self.items, self.min_size, self.max_size, self.layers)


class Inclusion(Choice):
    """Whether one item of a ``Subset`` is taken: what the walk asks for each of its items.

    Attributes:
        likelihood: share of the still possible subsets that hold the item; taking it with this
            probability draws every valid subset equally often.
    """

    def __init__(self, likelihood: float) -> None:
        super().__init__(False, True)
        self.likelihood = likelihood

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bool)


def _check_min_size(min_size: object) -> None:
    if isinstance(min_size, bool) or not isinstance(min_size, int):
        raise ValueError(
            f"Subset needs a whole number min_size, got {min_size!r}; count the items"
        )


def _check_max_size(max_size: object, min_size: int, n_items: int | None) -> None:
    if max_size is None:
        return
    if isinstance(max_size, bool) or not isinstance(max_size, int) or max_size < max(min_size, 1):
        raise ValueError(
            f"Subset needs a whole number max_size >= {max(min_size, 1)} (its min_size), got "
            f"{max_size!r}; raise it, or leave it out for all"
        )
    if n_items is not None and max_size > n_items:
        raise ValueError(
            f"Subset needs max_size <= {n_items} (its items), got {max_size}; leave it out for all"
        )


def _typed(values: tuple[Any, ...]) -> list[tuple[type, Any]]:
    return [(type(value), value) for value in values]


def _check_flag(name: str, log: object) -> None:
    if not isinstance(log, bool):
        raise ValueError(f"{name} needs log=True or log=False, got {log!r}; take one of them")
