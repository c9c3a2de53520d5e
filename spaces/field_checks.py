"""Whether a field may hold what it is given: a value, a domain, or either layer by layer."""

from __future__ import annotations

import math
from typing import Any

from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.refusals import refusal
from peftnas.spaces.structure import ByGroup, ByLayer, PerGroup, PerLayer
from peftnas.spaces.ties import Shared, Switch
from peftnas.spaces.values import Layers, Values


def check_value(name: str, values: Values, by_layer: bool, value: Any) -> None:
    """Raise ValueError unless a field may hold a value, or a domain of such values.

    Args:
        name: of the field, such as ``LoRA.rank``.
        values: what it takes.
        by_layer: whether values layer by layer are allowed.
        value: what is given.
    """
    if isinstance(value, Shared):
        check_value(name, values, by_layer, value.domain)
    elif isinstance(value, Switch):
        for _, case in value.cases:
            check_value(name, values, by_layer, case)
    elif isinstance(value, PerLayer | PerGroup | ByGroup | ByLayer):
        if not by_layer:
            raise ValueError(
                f"{name} is one value for the whole backbone, got {value!r}; "
                "drop the per-layer wrapper"
            )
        if isinstance(value, ByGroup):
            for option in value.values:
                check_value(name, values, by_layer, option)
            return
        if not isinstance(value, ByLayer):
            check_value(name, values, by_layer, value.domain)
            return
        takes, seen = values.takes, set()
        for _, option in value.items():  # many layers, few values
            try:
                known = (option.__class__, option) in seen
            except TypeError:  # a set, or a list inside: no field takes such a value
                raise ValueError(refusal(name, values, option)) from None
            if not known:
                seen.add((option.__class__, option))
                if not takes(option):
                    check_value(name, values, by_layer, option)
    elif isinstance(value, Subset) and value.layers:
        if not isinstance(values, Layers):
            raise ValueError(refusal(name, values, value))
    elif isinstance(value, Choice):
        for option in value.options:
            check_value(name, values, by_layer, option)
    elif isinstance(value, Subset):
        if not values.takes(value.items):
            raise ValueError(refusal(name, values, value))
    elif isinstance(value, Integer | Real):
        ends = [value.low, value.high]
        if isinstance(value, Real):  # draws fractions even between whole ends
            ends.append(value.low + (value.high - value.low) / math.e)
        for end in ends:
            if not values.takes(end):
                raise ValueError(refusal(name, values, value))
    elif not values.takes(value):
        raise ValueError(refusal(name, values, value))
