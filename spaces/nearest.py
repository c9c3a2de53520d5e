"""The known name that a wrong one was most likely meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

_ALIKE = 0.6  # as in difflib
_KNOWN_ELSEWHERE = {
    "mlp": "ffn",
    "feed_forward": "ffn",
    "attn": "attention",
    "self_attn": "attention",
    "self_attention": "attention",
    # one of several norms
    "layernorm": None,
    "layer_norm": None,
    "rmsnorm": None,
}
"""What models of transformers call it -> our name, where there is one."""


def nearest(given: Any, known: Iterable[str]) -> str | None:
    """The name meant by ``given``, or ``None`` where there is no good guess.

    By its initials (``lr`` is ``learning_rate``), by how its first word begins (``q_proj`` is
    ``query``), else by letters in common.
    """
    names = [name for name in known if isinstance(name, str)]
    if not isinstance(given, str) or not given:
        return None
    lower = given.lower()
    if lower in _KNOWN_ELSEWHERE:
        ours = _KNOWN_ELSEWHERE[lower]
        return ours if ours in names else None
    for name in names:
        words = name.split("_")
        if len(words) > 1 and "".join(word[:1] for word in words) == lower:
            return name
    head = lower.replace("-", "_").split("_")[0]
    begun = [name for name in names if name.startswith(head)] if head else []
    if 1 <= len(begun) <= 2:
        return min(begun, key=len)
    likeness = {name: difflib.SequenceMatcher(None, name, lower).ratio() for name in names}
    best = max(likeness.values(), default=0.0)
    found = [name for name, value in likeness.items() if value == best]
    return found[0] if best >= _ALIKE and len(found) == 1 else None


def did_you_mean(given: Any, known: Iterable[str]) -> str:
    """A remedy that names the nearest; else to take one of the known, which the rule lists."""
    found = nearest(given, known)
    return "take one of these" if found is None else f"did you mean {found!r}?"
