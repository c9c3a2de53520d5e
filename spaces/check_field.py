"""Whether a field takes what it holds, a value or a domain."""

from __future__ import annotations

import math
from typing import Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.structure import ByLayer, PerGroup, PerLayer
from peftnas.spaces.values import Layers, Values

PLAIN = {int, float, str, bool, tuple, type(None)}
"""Classes of most held values: looked up, where an instance check of each would take long."""


def check_field(cls: type, name: str, values: Values, by_layer: bool, value: Any) -> None:
    """Raise ``ValueError`` if a field does not take a value, or one that a domain could yield.

    Args:
        cls: whose field it is.
        name: of the field.
        values: what it takes.
        by_layer: whether it may differ from layer to layer.
        value: a value, a domain, or either layer by layer.
    """
    if value.__class__ in PLAIN and values.takes(value):
        return
    _check(f"{cls.__name__}.{name}", values, by_layer, value)


def _check(name: str, values: Values, by_layer: bool, value: Any) -> None:
    if isinstance(value, PerLayer | PerGroup | ByLayer):
        if not by_layer:
            raise ValueError(
                f"{name} is one value for the whole backbone, got {value!r}; "
                "drop the per-layer wrapper"
            )
        if not isinstance(value, ByLayer):
            _check(name, values, by_layer, value.domain)
            return
        takes, seen = values.takes, set()
        for _, option in value.items():  # many layers, few values
            if (key := (option.__class__, option)) not in seen:
                seen.add(key)
                if not takes(option):
                    _check(name, values, by_layer, option)
    elif isinstance(value, Subset) and value.layers:
        if not isinstance(values, Layers):
            raise ValueError(f"{name} must be {values.words}, got {value!r}; change it")
    elif isinstance(value, Choice):
        for option in value.options:
            _check(name, values, by_layer, option)
    elif isinstance(value, Subset):
        if not values.takes(value.items):
            raise ValueError(f"{name} must be {values.words}, got {value!r}; change it")
    elif isinstance(value, Integer | Real):
        ends = [value.low, value.high]
        if isinstance(value, Real):  # draws fractions even between whole ends
            ends.append(value.low + (value.high - value.low) / math.e)
        for end in ends:
            if not values.takes(end):
                raise ValueError(
                    f"{name} must be {values.words}, got {value!r}; change its bounds"
                )
    elif not values.takes(value):
        raise ValueError(f"{name} must be {values.words}, got {value!r}; change it")
