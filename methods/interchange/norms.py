"""LN-tuning as HF peft holds it: whole norms instead of the frozen ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.interchange.paths import PREFIX, pattern, task_type
from peftnas.methods.ln_tuning import LNDelta

if TYPE_CHECKING:
    from peft import PeftConfig


@torch.no_grad()
def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``ln_tuning_layers``: all values of each norm, (d,) each.

    What of a norm is not trained has its frozen value.
    """
    from peft import LNTuningConfig

    norms: dict[str, dict[str, Tensor]] = {}
    for placement, module in attached.placed:
        assert isinstance(module, LNDelta)
        path = attached.anatomy.norms[placement.site].path
        values = norms.setdefault(path, dict(attached.base.get_submodule(path).state_dict()))
        for name, delta in module.named_parameters():
            values[name] = values[name] + delta.to(values[name].device)
    config = LNTuningConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(norms),
    )
    frozen = attached.base.state_dict()
    return config, {
        f"{PREFIX}{path}.ln_tuning_layers.{name}": value.to(frozen[f"{path}.{name}"].dtype)
        for path, values in norms.items()
        for name, value in values.items()
    }
