"""LoRA as HF peft holds it: one A and B for each projection, ranks and scales by pattern."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import LinearSite
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Placement
from peftnas.methods.interchange.paths import (
    PREFIX,
    by_projection,
    keeps_transposed,
    pattern,
    refusal,
    rows_of,
    task_type,
)
from peftnas.methods.lora import LoRADelta

if TYPE_CHECKING:
    from peft import PeftConfig

Part = tuple[LinearSite, Placement, nn.Module]


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``lora_A``, ``lora_B``.

    Scales are spelled by ``lora_alpha`` alone, also those of rslora: the function and the training
    are the same. Several deltas on one projection (two LoRAs, or the query and value of a fused
    one) become one of the sum of their ranks, with zeros in B at outputs that they leave alone.
    """
    from peft import LoraConfig

    tensors: dict[str, Tensor] = {}
    sizes: dict[str, tuple[int, float]] = {}
    for path, parts in by_projection(attached).items():
        a, b, scale = _one_delta(parts)
        tensors[f"{PREFIX}{path}.lora_A.weight"] = a
        tensors[f"{PREFIX}{path}.lora_B.weight"] = b
        sizes[path] = (len(a), _tidy(scale * len(a)))
    rank, alpha = Counter(sizes.values()).most_common(1)[0][0]
    config = LoraConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        r=rank,
        lora_alpha=cast(int, alpha),  # peft divides it, so it need not be whole
        lora_dropout=0.0,
        bias="none",
        target_modules=pattern(sizes),
        rank_pattern={
            _where(sizes, 0, other): other
            for other in sorted({size for size, _ in sizes.values()} - {rank})
        },
        alpha_pattern={
            _where(sizes, 1, other): other
            for other in sorted({scaled for _, scaled in sizes.values()} - {alpha})
        },
        fan_in_fan_out=keeps_transposed(attached),
    )
    return config, tensors


def _one_delta(parts: Sequence[Part]) -> tuple[Tensor, Tensor, float]:
    """A (r, n_in), B (n_out, r) and scale of all that is added to one projection."""
    scales: list[float] = []
    rows_of_a: list[Tensor] = []
    columns_of_b: list[Tensor] = []
    for site, placement, module in parts:
        assert isinstance(module, LoRADelta)
        if module.gate is not None:
            raise refusal(placement, "it has no gates")
        rows, total = rows_of(site)
        b = module.B.new_zeros(total, module.B.shape[1])
        b[torch.tensor(rows, device=b.device)] = module.B.detach()
        scales.append(module.placement.scale)
        rows_of_a.append(module.A.detach())
        columns_of_b.append(b)
    if len(set(scales)) > 1:
        columns_of_b = [b * scale for b, scale in zip(columns_of_b, scales, strict=True)]
        scales = [1.0]
    return torch.cat(rows_of_a), torch.cat(columns_of_b, dim=1), scales[0]


def _tidy(alpha: float) -> float:
    """A whole number where rounding alone keeps it from being one."""
    whole = round(alpha)
    return whole if abs(alpha - whole) <= 1e-12 * abs(alpha) else alpha


def _where(sizes: dict[str, tuple[int, float]], which: int, value: float) -> str:
    return pattern(path for path, size in sizes.items() if size[which] == value)
