"""Where two JSON values differ, in words."""

from __future__ import annotations

from typing import Any


def differences(kept: Any, new: Any, path: str = "") -> list[str]:
    """Where two JSON values differ, as sentences ``path: kept -> new``."""
    if isinstance(kept, dict) and isinstance(new, dict):
        return [
            line
            for key in sorted(kept.keys() | new.keys())
            for line in differences(
                kept.get(key, _MISSING), new.get(key, _MISSING), f"{path}.{key}" if path else key
            )
        ]
    if isinstance(kept, list) and isinstance(new, list) and len(kept) == len(new):
        return [
            line
            for i, (a, b) in enumerate(zip(kept, new, strict=True))
            for line in differences(a, b, f"{path}[{i}]")
        ]
    # 1 == 1.0 == True in Python, but not as content of a study
    if type(kept) is type(new) and kept == new:
        return []
    return [f"{path}: stored {_shown(kept)}, now {_shown(new)}"]


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _shown(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."
