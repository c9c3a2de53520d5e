"""The budget of a space: a number of trainable parameters, or a share of the backbone."""

from __future__ import annotations

import re
from fractions import Fraction

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def check_budget(max_parameters: int | str | None) -> None:
    """Raise ValueError unless it is ``None``, a whole number >= 1, or a percentage above 0."""
    if max_parameters is None:
        return
    if isinstance(max_parameters, str):
        percent = _PERCENT.fullmatch(max_parameters)
        if percent and Fraction(percent[1]) > 0:
            return
    elif isinstance(max_parameters, int) and not isinstance(max_parameters, bool):
        if max_parameters >= 1:
            return
    remedy = "leave it out for no limit"
    if isinstance(max_parameters, float) and 0 < max_parameters < 1:
        share = f"{100 * max_parameters:.10g}%"
        remedy = f'write max_parameters="{share}" for that part of the backbone'
    if isinstance(max_parameters, str) and max_parameters.strip().isdecimal():
        number = max_parameters.strip()
        remedy = f'write {number} without quotes, or "{number}%"'
    raise ValueError(
        "max_parameters must be a whole number >= 1 or a percentage of the backbone above 0 such "
        f'as "2%", got {max_parameters!r}; {remedy}'
    )


def resolve_budget(max_parameters: int | str | None, backbone_parameters: int) -> int | None:
    """The largest allowed number of trainable parameters; a percentage is rounded down.

    Args:
        max_parameters: checked by :func:`check_budget`.
        backbone_parameters: parameters of the backbone without head.
    """
    if isinstance(max_parameters, str):
        percent = _PERCENT.fullmatch(max_parameters)
        assert percent is not None, "checked when the space was made"
        return int(Fraction(percent[1]) * backbone_parameters / 100)
    return max_parameters
