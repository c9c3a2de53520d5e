"""What a field takes: whole numbers, numbers, named values, sets of them, layers.

Imported from :mod:`peftnas.spaces.fields`, where fields are declared with them.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Protocol


class Values(Protocol):
    """What a field takes. ``words`` names it in messages and help."""

    @property
    def words(self) -> str: ...

    def takes(self, value: Any) -> bool: ...


def is_finite(number: float) -> bool:
    """Whether a number is one that a float can be: whole numbers have no limit of their own."""
    return abs(number) <= sys.float_info.max


@dataclass(frozen=True)
class Whole:
    """Whole numbers from ``low`` to ``high`` (``None``: no upper limit)."""

    low: int
    high: int | None = None

    @property
    def words(self) -> str:
        if self.high is None:
            return f"a whole number >= {self.low}"
        return f"a whole number in [{self.low}, {self.high}]"

    def takes(self, value: Any) -> bool:
        return (
            isinstance(value, int)
            and value.__class__ is not bool
            and value >= self.low
            and (self.high is None or value <= self.high)
        )


@dataclass(frozen=True)
class Number:
    """Real numbers from ``low`` to ``high`` (``None``: no limit); ``above`` excludes ``low``."""

    low: float
    high: float | None = None
    above: bool = False

    @property
    def words(self) -> str:
        low = f"> {self.low:g}" if self.above else f">= {self.low:g}"
        return f"a number {low}" + ("" if self.high is None else f" and <= {self.high:g}")

    def takes(self, value: Any) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and is_finite(value)
            and (value > self.low if self.above else value >= self.low)
            and (self.high is None or value <= self.high)
        )


class OneOf:
    """One of the named values."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    @property
    def words(self) -> str:
        if len(self.values) == 1:
            return repr(self.values[0])
        return "one of " + ", ".join(map(repr, self.values))

    def takes(self, value: Any) -> bool:
        # every value drawn is looked at: a loop takes half of what a generator does
        for known in self.values:
            if value is known or same_value(value, known):
                return True
        return False


def same_value(one: Any, other: Any) -> bool:
    """Equal and of one type: 1, 1.0 and True are three values."""
    return type(one) is type(other) and bool(one == other)


class AnyOf:
    """Either of several kinds of values, such as the word "learned" or a number."""

    def __init__(self, *kinds: Values) -> None:
        self.kinds = kinds

    @property
    def words(self) -> str:
        return " or ".join(kind.words for kind in self.kinds)

    def takes(self, value: Any) -> bool:
        for kind in self.kinds:
            if kind.takes(value):
                return True
        return False


class SomeOf:
    """A tuple of distinct named items; empty means that the method acts nowhere."""

    def __init__(self, *items: str) -> None:
        self.items = items
        self._known = frozenset(items)

    @property
    def words(self) -> str:
        return "some of " + ", ".join(map(repr, self.items))

    def takes(self, value: Any) -> bool:
        if not isinstance(value, tuple):
            return False
        for one in value:
            if not isinstance(one, str):  # a list, say, is in no set
                return False
        return len(set(value)) == len(value) and self._known.issuperset(value)


class Tokens:
    """A tuple of one or more token ids."""

    words = "a tuple of token ids, whole numbers >= 0"

    def takes(self, value: Any) -> bool:
        return isinstance(value, tuple) and bool(value) and all(map(Whole(0).takes, value))


class Sizes:
    """A tuple of one or more whole numbers >= 1, such as widths one after another."""

    words = "a tuple of whole numbers >= 1"

    def takes(self, value: Any) -> bool:
        return isinstance(value, tuple) and bool(value) and all(map(Whole(1).takes, value))


_LAYER = Whole(0)


class Layers:
    """``None`` (every layer) or a tuple of distinct layer numbers, 0-based."""

    words = "None (all layers), a tuple of layer numbers, or Subset.of_layers()"

    def takes(self, value: Any) -> bool:
        return value is None or (
            isinstance(value, tuple)
            and all(map(_LAYER.takes, value))
            and len(set(value)) == len(value)
        )
