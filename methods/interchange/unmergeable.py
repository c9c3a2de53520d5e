"""What of an architecture no weights of a plain model can hold, and why, in one sentence."""

from __future__ import annotations

from torch import nn

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import (
    Affine,
    BiasDelta,
    BlockDelta,
    Bundle,
    CoreBranch,
    InputDelta,
    LayerPrompts,
    LinearDelta,
    PrefixKeyValues,
    PromptVectors,
    SublayerDelta,
    SublayerScale,
)
from peftnas.methods.merge import Merged

REASONS: tuple[tuple[type[nn.Module], str], ...] = (
    (PromptVectors, "a plain model has no place for vectors among the tokens of every text"),
    (LayerPrompts, "a plain model has no place for vectors among the tokens of every text"),
    (PrefixKeyValues, "a plain model has no place for keys and values beside those of the tokens"),
    (CoreBranch, "a plain model has no second attention beside its own"),
    (SublayerDelta, "it works on the stream after a sublayer, where a plain model has no weights"),
    (SublayerScale, "it has a factor for each token of a text, which no weights of a model have"),
    (BlockDelta, "it edits what a whole layer gives, where a plain model has no weights"),
    (InputDelta, "it works in front of a linear, where a plain model has no weights"),
    (LinearDelta, "what it adds depends on the input, so it is no change of the weight there"),
)
"""Roles that plain weights cannot hold, each with the reason."""

NO_BIAS = "its shift needs a bias, which the norm there does not have"


def refusal_of(attached: AttachedModules, report: Merged) -> ValueError:
    """The error of what still runs as modules after a merge.

    The first of them that has a reason of its own is named: another one may only stay because of
    what is at the same linear.

    Args:
        attached: modules, merged as far as they go.
        report: of that merge, with at least one in ``remaining``.
    """
    found = [
        (placement.kind, *reason)
        for placement, module in attached.placed
        if f"{placement.site}: {placement.kind}" in report.remaining
        and (reason := _reason(attached.anatomy, placement.site, module)) is not None
    ]
    kind, site, why = found[0]
    others = len(report.remaining) - 1
    return ValueError(
        f"{kind} at {site} cannot be merged: {why}"
        + (f" ({others} more modules are not merged either)" if others else "")
        + "; keep peftnas's own format"
    )


def _reason(anatomy: Anatomy, site: str, module: nn.Module) -> tuple[str, str] | None:
    """Where and why a module stays; ``None`` if it would go into the weights by itself."""
    if isinstance(module, Bundle):
        parts = zip(module.sites, module.parts, strict=True)
        reasons = (_reason(anatomy, *part) for part in parts)
        return next((reason for reason in reasons if reason is not None), None)
    if isinstance(module, LinearDelta) and module.weight_delta() is not None:
        return None
    if isinstance(module, Affine | BiasDelta):
        return (site, NO_BIAS) if site in anatomy.norms else None
    why = next((why for role, why in REASONS if isinstance(module, role)), None)
    return None if why is None else (site, why)
