"""JSON values in words for people."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from peftnas.search.report.figures.points import plain

_LONGEST = 12  # items of a list that are shown
_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b")


def words(value: Any) -> str:
    """A JSON value for people; long hex digests are cut."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        named = [words(value["name"])] if "name" in value else []
        rest = [
            f"{spaced(str(name))} {words(inner)}"
            for name, inner in value.items()
            if name != "name" and inner is not None
        ]
        return ", ".join(named + rest)
    if isinstance(value, list | tuple):
        shown = [words(item) for item in value[:_LONGEST]]
        rest = [f"{len(value) - _LONGEST} more"] if len(value) > _LONGEST else []
        return "; ".join(shown + rest)
    return "–" if value is None else _DIGEST.sub(r"\1…", plain(value))


def spaced(name: str) -> str:
    """A name in code as words."""
    return name.replace("_", " ")
