"""VeRA as HF peft holds it: two vectors for each linear, and the frozen matrices in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import LinearDelta
from peftnas.methods.interchange.beside import with_norms_and_biases
from peftnas.methods.interchange.paths import (
    PREFIX,
    by_projection,
    keeps_transposed,
    pattern,
    refusal,
    task_type,
)
from peftnas.methods.vera import VeRABundle, VeRADelta

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, ``vera_lambda_d``, ``vera_lambda_b``, and the shared ``vera_A``, ``vera_B``.

    Raises:
        ValueError: if several have different frozen matrices, two act at one linear, or one at a
            part of a fused projection.
    """
    from peft import VeraConfig

    frozen = _frozen(attached)
    tensors = {f"base_model.vera_{name}": matrix for name, matrix in frozen.items()}
    projections = by_projection(attached, LinearDelta)
    for path, parts in projections.items():
        site, placement, module = parts[0]
        assert isinstance(module, VeRADelta)
        if site.rows is not None:
            why = "it takes rows of its frozen matrix for the whole fused projection"
            raise refusal(placement, why, site.address)
        if len(parts) > 1:
            raise refusal(placement, "it holds one of them at a linear", site.address)
        tensors[f"{PREFIX}{path}.vera_lambda_d"] = module.d
        tensors[f"{PREFIX}{path}.vera_lambda_b"] = module.b
    config = VeraConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        r=len(frozen["A"]),
        target_modules=pattern(projections),
        fan_in_fan_out=keeps_transposed(projections),
        save_projection=True,  # peft would draw others
    )
    return with_norms_and_biases(attached, config, tensors)


def _frozen(attached: AttachedModules) -> dict[str, Tensor]:
    found: dict[str, Tensor] | None = None
    for placement, module in attached.placed:
        if not isinstance(module, VeRABundle):
            continue
        here = {name: module.get_buffer(name) for name in ("A", "B")}
        if found is not None and not all(torch.equal(found[name], here[name]) for name in found):
            raise refusal(placement, "it holds one pair of frozen matrices for all linears")
        found = here
    assert found is not None
    return found
