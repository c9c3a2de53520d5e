"""What translators share: refusals, module paths as patterns, the projections behind sites."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Placement
from peftnas.methods.hooks import unbundled
from peftnas.methods.reads import arguments_of
from peftnas.methods.sites import LinearSite

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PREFIX = "base_model.model."
"""What the names of tensors begin with in files of peft's layer methods."""

NO_CONV = "it puts this at nn.Linear alone, and this backbone has a Conv1D there"
LACKING = "the linear has no bias that it could train"

Part = tuple[LinearSite, Placement, nn.Module]
Projections = dict[str, list[Part]]


def require_peft() -> None:
    """Raise ``ImportError`` with the remedy where peft is not installed."""
    if find_spec("peft") is None:
        raise ImportError(
            "the format of HF peft needs the package peft, which is not installed; "
            "pip install 'peftnas[peft]'"
        )


def refusal(placement: Placement, why: str, at: str | None = None) -> ValueError:
    """The error of a part that HF peft cannot express; ``at``: where a bundle has it."""
    return ValueError(
        f"{placement.kind} at {at or placement.site} cannot go into HF peft: {why}; "
        "keep peftnas's own format"
    )


def task_type(base: PreTrainedModel) -> str | None:
    """peft's model class for the outputs of a base model; it hands over words or their vectors."""
    return "FEATURE_EXTRACTION" if {"input_ids", "inputs_embeds"} <= arguments_of(base) else None


def by_projection(attached: AttachedModules, role: type[nn.Module]) -> Projections:
    """Path of each projection -> what of a role acts there; parts of a fused one together."""
    found: Projections = {}
    for placement, address, module in unbundled(attached.placed):
        if isinstance(module, role):
            site = attached.anatomy.linears[address]
            found.setdefault(site.path, []).append((site, placement, module))
    return found


def one_each(projections: Projections, *, fused: bool = False) -> Iterator[tuple[str, Part]]:
    """Path and part of each projection, for kinds that peft puts at plain linears alone.

    Args:
        projections: what acts at each.
        fused: whether peft can leave a part of a projection's outputs as they are.
    Raises:
        ValueError: if there are several, or the backbone keeps this weight in another form.
    """
    for path, parts in projections.items():
        seen: set[str] = set()
        for site, placement, module in parts:
            why = None
            if site.transposed:
                why = NO_CONV
            elif site.rows is not None and not fused:
                why = "it would change the whole fused projection, not this part of it"
            elif site.address in seen:
                why = "it holds one of them at a linear"
            if why is not None:
                raise refusal(placement, why, site.address)
            seen.add(site.address)
            yield path, (site, placement, module)


def keeps_transposed(projections: Projections) -> bool:
    """Whether these projections keep their weights as (n_in, n_out)."""
    return any(site.transposed for parts in projections.values() for site, _, _ in parts)


def rows_of(site: LinearSite) -> tuple[Sequence[int], int]:
    """Numbers of a linear's outputs in its projection, and how many that has."""
    if site.rows is None:
        return range(site.n_out), site.n_out
    total = site.n_out * site.rows.parts
    return site.rows.indices(total), total


def widened(value: Tensor, site: LinearSite) -> Tensor:
    """``value`` (n_out, ...) of a linear for its whole projection, 0 at the other outputs."""
    rows, total = rows_of(site)
    whole = value.new_zeros(total, *value.shape[1:])
    whole[torch.tensor(rows, device=value.device)] = value.detach()
    return whole


def patterns(ranks: Mapping[str, int], alphas: Mapping[str, float]) -> dict[str, Any]:
    """Fields of a config that say rank and alpha of each path: one for most, others by pattern."""
    sizes = {path: (rank, alphas[path]) for path, rank in ranks.items()}
    rank, alpha = Counter(sizes.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "rank_pattern": _others(ranks, rank),
        "alpha": alpha,
        "alpha_pattern": _others(alphas, alpha),
    }


def tidy(alpha: float) -> float:
    """A whole number where rounding alone keeps it from being one."""
    whole = round(alpha)
    return whole if abs(alpha - whole) <= 1e-12 * abs(alpha) else alpha


def _others(values: Mapping[str, Any], usual: Any) -> dict[str, Any]:
    return {
        pattern(path for path, value in values.items() if value == other): other
        for other in sorted(set(values.values()) - {usual})
    }


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
