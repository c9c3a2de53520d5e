"""Low-rank deltas as HF peft's LoRA: one A and B for each projection, ranks and scales by pattern.

LoRA itself, and what is a plain LoRA once it is trained: AdaLoRA, DyLoRA, SoRA. Several of them at
one projection become one of the sum of their ranks. Norms and biases may be trained beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from peftnas.methods.adalora import AdaLoRADelta
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import LinearDelta, Placement
from peftnas.methods.dora import DoRADelta
from peftnas.methods.dylora import DyLoRADelta
from peftnas.methods.interchange.beside import linear_biases, with_norms_and_biases
from peftnas.methods.interchange.paths import (
    PREFIX,
    Part,
    Projections,
    by_projection,
    keeps_transposed,
    pattern,
    patterns,
    refusal,
    task_type,
    tidy,
    widened,
)
from peftnas.methods.lora import LoRADelta
from peftnas.methods.sites import LinearSite
from peftnas.methods.sora import SoRADelta

if TYPE_CHECKING:
    from peft import PeftConfig

KINDS = frozenset({"lora", "adalora", "dylora", "sora"})


@dataclass(frozen=True)
class Factors:
    """What a delta adds to the weight: scale * b @ a, with a (r, n_in) and b (n_out, r)."""

    a: Tensor
    b: Tensor
    scale: float


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, ``lora_A`` and ``lora_B``, and what is trained of norms and biases.

    Scales are spelled by ``lora_alpha`` alone, also those of rslora: the function and the training
    are the same. Deltas of a part of a fused projection have zeros in B at its other outputs.
    Ranks that training has set to 0 are left out.

    Raises:
        ValueError: if a delta has a gate that depends on the input, or all ranks are 0.
    """
    projections = by_projection(attached, LinearDelta)
    sums = {path: sum_of(parts) for path, parts in projections.items()}
    sums = {path: factors for path, factors in sums.items() if len(factors.a)}
    if not sums:
        first = attached.placed[0][0]
        raise refusal(first, "training has left no rank that is not 0, so nothing is to be held")
    new = _new_biases(attached, sums)
    config = lora_config(attached, projections, sums, lora_bias=bool(new))
    tensors = lora_tensors(sums) | _as_lora_biases(sums, new)
    return with_norms_and_biases(attached, config, tensors, held=new)


def _new_biases(attached: AttachedModules, sums: dict[str, Factors]) -> dict[str, Tensor]:
    """Path of each linear without a bias that gets one -> its values (n_out,)."""
    found: dict[str, Tensor] = {}
    for site, placement, value in linear_biases(attached, new=True):
        if site.path not in sums:
            why = "the linear has no bias, and it makes a new one only where LoRA acts too"
            raise refusal(placement, why, site.address)
        found[site.path] = found[site.path] + value if site.path in found else value
    return found


def _as_lora_biases(sums: dict[str, Factors], new: dict[str, Tensor]) -> dict[str, Tensor]:
    """With one new bias, peft has one in every ``lora_B``, times its scale."""
    return {
        f"{PREFIX}{path}.lora_B.bias": (
            new[path] / factors.scale if path in new else factors.b.new_zeros(len(factors.b))
        )
        for path, factors in sums.items()
        if new
    }


def lora_config(
    attached: AttachedModules, projections: Projections, sums: dict[str, Factors], **more: Any
) -> PeftConfig:
    """The config of LoRAs at these paths."""
    from peft import LoraConfig

    fields = patterns(
        {path: len(factors.a) for path, factors in sums.items()},
        {path: tidy(factors.scale * len(factors.a)) for path, factors in sums.items()},
    )
    return LoraConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        lora_alpha=fields.pop("alpha"),
        lora_dropout=0.0,
        target_modules=pattern(sums),
        fan_in_fan_out=keeps_transposed(projections),
        **fields,
        **more,
    )


def lora_tensors(sums: dict[str, Factors]) -> dict[str, Tensor]:
    """``lora_A`` and ``lora_B`` at these paths."""
    tensors: dict[str, Tensor] = {}
    for path, factors in sums.items():
        tensors[f"{PREFIX}{path}.lora_A.weight"] = factors.a
        tensors[f"{PREFIX}{path}.lora_B.weight"] = factors.b
    return tensors


def sum_of(parts: Sequence[Part]) -> Factors:
    """All that is added to one projection, as one."""
    found = [_whole(site, _factors(site, placement, module)) for site, placement, module in parts]
    scales = {factors.scale for factors in found}
    scale = scales.pop() if len(scales) == 1 else 1.0
    return Factors(
        torch.cat([factors.a for factors in found]),
        # the scale that all have stays outside, so that a plain LoRA keeps its own tensors
        torch.cat([f.b if f.scale == scale else f.scale * f.b for f in found], dim=1),
        scale,
    )


def _whole(site: LinearSite, factors: Factors) -> Factors:
    return Factors(factors.a, widened(factors.b, site), factors.scale)


@torch.no_grad()
def _factors(site: LinearSite, placement: Placement, module: nn.Module) -> Factors:
    match module:
        case LoRADelta():
            if module.gate is not None:
                raise refusal(placement, "it has no gates")
            return Factors(module.A, module.B, module.placement.scale)
        case DoRADelta():
            return Factors(module.A, module.B, module.placement.scale)
        case DyLoRADelta():
            used, alpha = module.placement.used, module.placement.alpha
            scale = 1.0 if alpha is None else alpha / used
            return Factors(module.A[:used], module.B[:, :used], scale)
        case AdaLoRADelta():
            return _kept(module.A, module.B, module.scale * module.E[:, 0], 1.0)
        case SoRADelta():
            return _kept(module.A, module.B, module.gate, module.placement.scale)
        case _:
            raise refusal(placement, "it is no low-rank delta", site.address)


def _kept(a: Tensor, b: Tensor, gate: Tensor, scale: float) -> Factors:
    """With one factor for each rank in A; ranks where it is 0 go."""
    kept = gate.nonzero()[:, 0]
    return Factors(gate[kept, None] * a[kept], b[:, kept], scale)
