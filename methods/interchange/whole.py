"""Whole modules instead of the frozen ones: peft's LN-tuning, which takes linears too.

What of a module is not trained has its frozen value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import BiasDelta, NormDelta
from peftnas.methods.cross_attention import DenseDelta
from peftnas.methods.hooks import unbundled
from peftnas.methods.interchange.paths import (
    LACKING,
    PREFIX,
    pattern,
    refusal,
    task_type,
    widened,
)
from peftnas.methods.sites import LinearSite, NormSite

if TYPE_CHECKING:
    from peft import PeftConfig

Values = dict[str, dict[str, Tensor]]
"""Path of a module -> its tensors by name."""


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``ln_tuning_layers``: all values of each norm and linear that is trained."""
    found = _whole(attached, {**attached.anatomy.norms, **attached.anatomy.linears})
    return to_peft_whole(attached, found)


def to_peft_whole(
    attached: AttachedModules, found: Values
) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The same of modules whose values are known."""
    from peft import LNTuningConfig

    config = LNTuningConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(found),
    )
    return config, {
        f"{PREFIX}{path}.ln_tuning_layers.{name}": value
        for path, values in found.items()
        for name, value in values.items()
    }


def whole_norms(attached: AttachedModules) -> Values:
    """Path of each norm of which weight or bias is trained -> all its values, (d,) each."""
    return _whole(attached, attached.anatomy.norms)


@torch.no_grad()
def _whole(attached: AttachedModules, sites: Mapping[str, LinearSite | NormSite]) -> Values:
    found: Values = {}
    for placement, address, module in unbundled(attached.placed):
        site, deltas = sites.get(address), _deltas(module)
        if site is None or not deltas:
            continue
        frozen = attached.base.get_submodule(site.path).state_dict()
        values = found.setdefault(site.path, dict(frozen))
        for name, delta in deltas.items():
            if name not in frozen:
                raise refusal(placement, LACKING, address)
            if isinstance(site, LinearSite):
                delta = widened(delta, site)
                delta = delta.T if site.transposed and name == "weight" else delta
            like = frozen[name]
            values[name] = (values[name] + delta.to(like.device)).to(like.dtype)
    return found


def _deltas(module: nn.Module) -> dict[str, Tensor]:
    """By name, what a module adds to the tensors of a norm or linear."""
    match module:
        case BiasDelta():
            return {"bias": module.value}
        case DenseDelta():
            return {"weight": module.delta}
        case NormDelta():
            return dict(module.named_parameters())
    return {}
