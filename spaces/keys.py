"""Keys that tell architectures apart: the same training, or the same class of functions.

Both are SHA-256 digests over the placements on a backbone, in an order of their own, so neither
the order nor the spelling of the methods matters (methods.md section 5).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from peftnas.spaces.architecture import Placement


def train_key(placements: Iterable[Placement]) -> str:
    """64 hex digits, equal exactly when the same modules are trained in the same way."""
    return _digest(placement.identity() for placement in placements)


def function_key(placements: Iterable[Placement]) -> str:
    """64 hex digits, equal when the modules reach the same functions, however trained.

    Modules of one kind at one site that are one larger module together count as that (rule 5).
    """
    return _digest(placement.function() for placement in _joined(placements))


def _joined(placements: Iterable[Placement]) -> Iterable[Placement]:
    """Placements with those that add up to one put together."""
    alone: list[Placement] = []
    groups: dict[str, Placement] = {}
    for placement in placements:
        size = placement.joins_by()
        if size is None:
            alone.append(placement)
            continue
        rest = {name: value for name, value in placement.function().items() if name != size}
        key = json.dumps(_plain(rest), sort_keys=True)
        groups[key] = groups[key].joined(placement) if key in groups else placement
    return [*alone, *groups.values()]


def _digest(parts: Iterable[dict[str, Any]]) -> str:
    texts = sorted(json.dumps(_plain(part), sort_keys=True) for part in parts)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Whole floats as integers: a scale of 1 and one of 1.0 are the same scale."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
