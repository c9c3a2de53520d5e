"""DoRA as HF peft holds it: LoRA with the magnitude of each row of a projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import LinearDelta
from peftnas.methods.dora import DoRADelta
from peftnas.methods.interchange.beside import with_norms_and_biases
from peftnas.methods.interchange.lora import lora_config, lora_tensors, sum_of
from peftnas.methods.interchange.paths import PREFIX, Part, by_projection, refusal, rows_of

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, ``lora_A``, ``lora_B`` and ``lora_magnitude_vector`` (n_out,).

    Outputs of a fused projection that are not changed have the norm of their frozen row.

    Raises:
        ValueError: if two act at one linear.
    """
    projections = by_projection(attached, LinearDelta)
    sums = {path: sum_of(parts) for path, parts in projections.items()}
    magnitudes = {
        f"{PREFIX}{path}.lora_magnitude_vector": _magnitude(attached, path, parts)
        for path, parts in projections.items()
    }
    config = lora_config(attached, projections, sums, use_dora=True)
    return with_norms_and_biases(attached, config, lora_tensors(sums) | magnitudes)


@torch.no_grad()
def _magnitude(attached: AttachedModules, path: str, parts: list[Part]) -> Tensor:
    weight: Tensor = attached.base.get_submodule(path).get_parameter("weight")
    weight = weight.T if parts[0][0].transposed else weight
    whole: Tensor = torch.linalg.vector_norm(weight.float(), dim=1)
    seen: set[str] = set()
    for site, placement, module in parts:
        assert isinstance(module, DoRADelta)
        if site.address in seen:
            raise refusal(placement, "it normalises one delta at a linear, not two")
        seen.add(site.address)
        rows, _ = rows_of(site)
        whole[torch.tensor(rows, device=whole.device)] = module.magnitude.float()
    return whole
