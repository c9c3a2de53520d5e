"""(IA)3 as HF peft holds it: one vector for each projection, on its output or on its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Rescale
from peftnas.methods.interchange.beside import with_norms_and_biases
from peftnas.methods.interchange.paths import (
    PREFIX,
    Part,
    by_projection,
    keeps_transposed,
    pattern,
    refusal,
    rows_of,
    task_type,
)

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, and ``ia3_l``: (n_out, 1), or (1, n_in) in its feedforward modules.

    The vector of a fused projection holds ones at outputs that are not rescaled.
    """
    from peft import IA3Config

    tensors: dict[str, Tensor] = {}
    inputs: list[str] = []
    projections = by_projection(attached, Rescale)
    for path, parts in projections.items():
        vector, side = _one_vector(parts)
        if side == "input":
            inputs.append(path)
        shape = (1, -1) if side == "input" else (-1, 1)
        tensors[f"{PREFIX}{path}.ia3_l"] = vector.view(shape)
    config = IA3Config(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(projections),
        feedforward_modules=pattern(inputs) if inputs else [],
        fan_in_fan_out=keeps_transposed(projections),
    )
    return with_norms_and_biases(attached, config, tensors)


def _one_vector(parts: Sequence[Part]) -> tuple[Tensor, str]:
    """The product of all vectors at one projection, and the side that they rescale."""
    total: Tensor | None = None
    sides: list[str] = []
    for site, placement, module in parts:
        assert isinstance(module, Rescale)
        sides.append(module.side)
        if sides[0] != module.side:
            raise refusal(placement, "it rescales the input of a linear or its output, not both")
        value = module.value.detach()
        if module.side == "output":
            rows, width = rows_of(site)
            whole = value.new_ones(width)
            whole[torch.tensor(rows, device=value.device)] = value
            value = whole
        total = value if total is None else total * value
    assert total is not None
    return total, sides[0]
