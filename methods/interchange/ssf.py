"""SSF as HF peft holds it: GLoRA of vectors at linears, and whole norms beside it.

GLoRA's ``W (1 + A) + B`` and ``b (1 + D) + E`` with A = D = gamma - 1, B = 0 and E = beta.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Affine
from peftnas.methods.interchange.beside import hold_norms
from peftnas.methods.interchange.paths import (
    PREFIX,
    Projections,
    one_each,
    pattern,
    refusal,
    task_type,
    widened,
)
from peftnas.methods.interchange.whole import Values, to_peft_whole

if TYPE_CHECKING:
    from peft import PeftConfig

NO_BIAS = "its shift needs a bias, which the module there does not have"


@torch.no_grad()
def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config, ``glora_A``, ``_B`` (n_out, 1), ``_D``, ``_E`` (n_out,), and all of each norm.

    Raises:
        ValueError: if one acts at a module without a bias, at the patches of an image, or at a
            linear that is no ``nn.Linear``.
    """
    from peft import GloraConfig

    projections, norms = _places(attached)
    if not projections:
        return to_peft_whole(attached, norms)
    tensors: dict[str, Tensor] = {}
    for path, (site, placement, module) in one_each(projections, fused=True):
        assert isinstance(module, Affine)
        linear = attached.base.get_submodule(path)
        if getattr(linear, "bias", None) is None:
            raise refusal(placement, NO_BIAS, site.address)
        scale, shift = widened(module.scale - 1, site), widened(module.shift, site)
        n_in = linear.get_parameter("weight").shape[1]
        for name, value in {
            "A.X": scale[:, None],
            "B.X": torch.zeros_like(scale)[:, None],
            "C.zeros": scale.new_zeros(n_in, 1),
            "D.X": scale,
            "E.X": shift,
        }.items():
            key = f"{PREFIX}{path}.glora_{name}"
            tensors[key] = tensors[key] + value if key in tensors else value
    config = GloraConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(projections),
        config_A_B="vector",
        config_C="none",
        config_D_E="vector",
    )
    return hold_norms(attached, config, tensors, norms)


def _places(attached: AttachedModules) -> tuple[Projections, Values]:
    """What acts at each projection, and the norms with their scale and shift in them."""
    projections: Projections = {}
    norms: Values = {}
    for placement, module in attached.placed:
        assert isinstance(module, Affine)
        linear = attached.anatomy.linears.get(placement.site)
        norm = attached.anatomy.norms.get(placement.site)
        if linear is not None:
            projections.setdefault(linear.path, []).append((linear, placement, module))
        elif norm is None:
            raise refusal(placement, "it has nothing like it at the embedding of patches")
        elif not norm.bias:
            raise refusal(placement, NO_BIAS)
        else:
            values = norms.get(norm.path) or attached.base.get_submodule(norm.path).state_dict()
            scale, shift = module.scale.to(values["bias"]), module.shift.to(values["bias"])
            norms[norm.path] = {
                "weight": values["weight"] * scale,
                "bias": values["bias"] * scale + shift,
            }
    return projections, norms
