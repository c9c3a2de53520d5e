"""Keys that tell architectures apart: the same training, or the same class of functions.

Both are SHA-256 digests over the placements on a backbone, in an order of their own, so neither
the order nor the spelling of the methods matters (methods.md section 5).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from peftnas.spaces.architecture import Anatomy, Architecture, Placement
from peftnas.spaces.training_settings import own_training


def train_key(placements: Iterable[Placement]) -> str:
    """64 hex digits, equal exactly when the same modules are trained in the same way."""
    return _digest(map(identity, placements))


def function_key(placements: Iterable[Placement], anatomy: Anatomy) -> str:
    """64 hex digits, equal when the modules reach the same functions, however trained.

    Args:
        placements: modules on a backbone.
        anatomy: of that backbone.
    """
    return _digest(map(_text, anatomy.functions(placements)))


def arms_key(architecture: Architecture, anatomy: Anatomy) -> str:
    """Which modules train by settings of their methods, and by which: 64 hex digits.

    Together with ``train_key`` (and a recipe) it says which training an architecture is; ``""``
    where all of it trains as the recipe says.

    Args:
        architecture: in canonical form.
        anatomy: of the backbone.
    """
    parts = [
        _text({"training": own, "of": identity(placement)})
        for method in architecture.methods
        if (own := own_training(method))
        for placement in anatomy.place(Architecture(method))
    ]
    return _digest(parts) if parts else ""


@functools.lru_cache(maxsize=20_000)
def identity(placement: Placement) -> str:
    """What is trained, as JSON; kept, since the placements of a space come again and again."""
    return _text(placement.identity())


def _text(part: dict[str, Any]) -> str:
    return json.dumps(_plain(part), sort_keys=True)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256(json.dumps(sorted(texts)).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Whole floats as integers: a scale of 1 and one of 1.0 are the same scale."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
