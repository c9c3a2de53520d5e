"""Bytes written with units."""

from __future__ import annotations

import re
from typing import Any

BYTES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_AMOUNT = r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*"


def as_bytes(name: str, limit: Any) -> int:
    """The number of bytes that a limit stands for.

    Args:
        name: of the limit, for the message.
        limit: a whole number >= 1, or a text such as ``"1MB"`` (10**6) or ``"1.5 GiB"``.
    Raises:
        ValueError: if it is neither.
    """
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1:
        return limit
    if isinstance(limit, str):
        found = re.fullmatch(_AMOUNT, limit)
        if found and found[2] in BYTES and float(found[1]) > 0:
            return int(float(found[1]) * BYTES[found[2]])
    raise ValueError(
        f"{name} must be a whole number of bytes >= 1 or a text with a unit of "
        f'{", ".join(BYTES)} such as "1MB", got {limit!r}; {_remedy(limit)}'
    )


def _remedy(limit: Any) -> str:
    found = re.fullmatch(_AMOUNT, limit) if isinstance(limit, str) else None
    if found is None or float(found[1]) == 0:
        return "write it so"
    meant = next((unit for unit in BYTES if unit.lower() == found[2].lower()), None)
    return "write it so" if meant is None else f"did you mean {found[1] + meant!r}?"


def byte_words(number: float) -> str:
    """Bytes with the largest decimal unit that leaves at least 1: ``1.5 MB``."""
    unit = next((unit for unit in ("GB", "MB", "kB") if number >= BYTES[unit]), "B")
    return f"{number / BYTES[unit]:,.4g} {unit}"
