"""Which parameters train by settings of their method, and by which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import Placement
from peftnas.methods.hooks import Placed
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.training_settings import own_training

Arms = dict[nn.Parameter, Mapping[str, Any]]
"""The ``learning_rate``, ``rate_warmup``, ``weight_decay`` that parameters have of their own."""


def arms_of(architecture: Architecture, anatomy: Anatomy, placed: Iterable[Placed]) -> Arms:
    """The parameters of methods that have training settings of their own, with these settings.

    Args:
        architecture: that was placed.
        anatomy: of the backbone.
        placed: its placements with their modules.
    """
    if not any(map(own_training, architecture.methods)):
        return {}
    owners: dict[Placement, list[dict[str, Any]]] = {}
    for method in architecture.methods:
        for part in method.place(anatomy):  # type: ignore[attr-defined]
            owners.setdefault(part, []).append(own_training(method))
    found: Arms = {}
    for placement, module in placed:
        # of two equal modules at one site, the first is the first method's
        own = owners[placement].pop(0)
        if own:
            found |= dict.fromkeys(module.parameters(), own)
    return found
