"""Seeds: every random number of a trial follows from what the trial is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

# 53 bits: exact in JSON readers that keep numbers as doubles
_BITS = 53


def derive_seed(
    study_seed: int,
    train_key: str,
    recipe: Mapping[str, Any],
    repeat: int = 0,
    arms: str = "",
) -> int:
    """The seed of a trial: not of its number, its worker, or what ran before.

    Args:
        study_seed: seed of the study.
        train_key: key of the canonical architecture on its backbone.
        recipe: as ``Recipe.to_dict`` writes it; the order of names does not matter.
        repeat: 0-based number of the repetition of one and the same training.
        arms: key of the training settings of methods, see ``arms.py``; "": none.
    Returns:
        A whole number in [0, 2**53).
    """
    names: list[str | int] = [train_key, json.dumps(dict(recipe), sort_keys=True), repeat]
    return child_seed(study_seed, *names, *([arms] if arms else []))


def child_seed(seed: int, *names: str | int) -> int:
    """A seed for one purpose, independent of the seeds for others; in [0, 2**53)."""
    content = json.dumps([seed, *names]).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> (64 - _BITS)
