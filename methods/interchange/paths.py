"""What translators share: refusals, module paths as patterns, the projections behind sites."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from torch import nn

from peftnas.methods.anatomy import LinearSite
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Placement

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFIX = "base_model.model."
"""What the names of tensors begin with in files of peft's layer methods."""


def require_peft() -> None:
    """Raise ``ImportError`` with the remedy where peft is not installed."""
    if find_spec("peft") is None:
        raise ImportError(
            "the format of HF peft needs the package peft, which is not installed; "
            "pip install 'peftnas[peft]'"
        )


def refusal(placement: Placement, why: str) -> ValueError:
    """The error of a part that HF peft cannot express."""
    return ValueError(
        f"{placement.kind} at {placement.site} cannot go into HF peft: {why}; "
        "keep peftnas's own format"
    )


def task_type(base: PreTrainedModel) -> str | None:
    """peft's model class for the outputs of a base model; it takes words alone."""
    return "FEATURE_EXTRACTION" if base.main_input_name == "input_ids" else None


def by_projection(
    attached: AttachedModules,
) -> dict[str, list[tuple[LinearSite, Placement, nn.Module]]]:
    """Path of each changed projection -> what acts there; parts of a fused one together."""
    found: dict[str, list[tuple[LinearSite, Placement, nn.Module]]] = {}
    for placement, module in attached.placed:
        site = attached.anatomy.linears[placement.site]
        found.setdefault(site.path, []).append((site, placement, module))
    return found


def keeps_transposed(attached: AttachedModules) -> bool:
    """Whether the changed projections keep their weights as (n_in, n_out)."""
    linears = attached.anatomy.linears
    return any(linears[placement.site].transposed for placement, _ in attached.placed)


def rows_of(site: LinearSite) -> tuple[Sequence[int], int]:
    """Numbers of a linear's outputs in its projection, and how many that has."""
    if site.rows is None:
        return range(site.n_out), site.n_out
    total = site.n_out * site.rows.parts
    return site.rows.indices(total), total


def pattern(paths: Iterable[str]) -> str:
    r"""A regular expression that matches these module paths whole, and no other.

    ``layer.0.key, layer.2.key`` give ``layer\.(0|2)\.key``.
    """
    numbers: dict[tuple[str, str], list[str]] = {}
    for path in sorted(set(paths), key=_by_number):
        found = re.search(r"\.(\d+)\.", path)
        start, number, end = (path, "", "")
        if found is not None:
            start, number, end = path[: found.start()], found[1], path[found.end() :]
        numbers.setdefault((start, end), []).append(number)
    ends: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (start, end), counted in numbers.items():
        ends.setdefault((start, tuple(counted)), []).append(end)
    return "|".join(
        re.escape(start) + (rf"\.{_either(counted)}\.{_either(tails)}" if counted[0] else "")
        for (start, counted), tails in ends.items()
    )


def _either(choices: Sequence[str]) -> str:
    escaped = [re.escape(choice) for choice in choices]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _by_number(path: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.split(".")]
