"""LN-tuning as HF peft holds it: whole norms instead of the frozen ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import BiasDelta, NormDelta
from peftnas.methods.interchange.paths import PREFIX, pattern, pieces, task_type

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``ln_tuning_layers``: all values of each norm, (d,) each.

    What of a norm is not trained has its frozen value.
    """
    from peft import LNTuningConfig

    norms = whole_norms(attached)
    config = LNTuningConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(norms),
    )
    return config, {
        f"{PREFIX}{path}.ln_tuning_layers.{name}": value
        for path, values in norms.items()
        for name, value in values.items()
    }


@torch.no_grad()
def whole_norms(attached: AttachedModules) -> dict[str, dict[str, Tensor]]:
    """Path of each norm of which weight or bias is trained -> all its values, (d,) each."""
    norms: dict[str, dict[str, Tensor]] = {}
    for address, _, module in pieces(attached):
        site = attached.anatomy.norms.get(address)
        if site is None or not isinstance(module, BiasDelta | NormDelta):
            continue
        frozen = attached.base.get_submodule(site.path).state_dict()
        values = norms.setdefault(site.path, dict(frozen))
        deltas = (
            {"bias": module.value}
            if isinstance(module, BiasDelta)
            else dict(module.named_parameters())
        )
        for name, delta in deltas.items():
            like = frozen[name]
            values[name] = (values[name] + delta.to(like.device)).to(like.dtype)
    return norms
