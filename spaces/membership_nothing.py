"""Answers that make a method of the space absent, by a size of 0 or an empty set."""

from __future__ import annotations

from typing import Any

from peftnas.spaces.domains import Choice, Integer, Subset
from peftnas.spaces.fields import settings
from peftnas.spaces.membership_variants import Variant
from peftnas.spaces.structure import PerGroup, PerLayer
from peftnas.spaces.tree import Primitive
from peftnas.spaces.tree_nodes import label_options

Values = dict[str, Primitive]


def vanish(variant: Variant, n_layers: int) -> Values | None:
    """Answers that make a method absent by a size of 0 or an empty set, if there are any."""
    found: list[Values] = []
    method = variant.leaf.method
    for name, declared in settings(type(method)).items():
        held = getattr(method, name)
        values = _nothing(variant.path(name), held, declared.size, n_layers)
        if values is not None:
            found.append(values)
    if not found:
        return None
    return {path: value for values in (variant.chosen, *found) for path, value in values.items()}


def zero(domain: Any, size: bool) -> Values | None:
    """Answers, by the rest of the path, that draw a size of 0 or an empty set."""
    match domain:
        case Integer() if size and 0 in domain:
            return {"": 0}
        case Subset() if not domain.min_size:
            return {f".{item}": False for item in domain.items}
        case Choice():
            for (_, label), option in label_options(domain).items():
                inner = zero(option, size)
                if inner is not None:
                    return {"": label} | {f".{label}{rest}": v for rest, v in inner.items()}
            return None
        case () | 0 if domain == () or (size and domain is not False):
            return {}
    return None


def _nothing(path: str, held: Any, size: bool, n_layers: int) -> Values | None:
    """Answers that draw 0 or an empty set in every layer."""
    if not isinstance(held, PerLayer | PerGroup):
        values = zero(held, size)
        return (
            None if values is None else {f"{path}{rest}": value for rest, value in values.items()}
        )
    values = zero(held.domain, size)
    if values is None:
        return None
    name, n = ("groups", held.groups) if isinstance(held, PerGroup) else ("layers", n_layers)
    return {f"{name}[{i}].{path}{r}": value for i in range(n) for r, value in values.items()}
