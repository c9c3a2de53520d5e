"""Trained biases beside LoRA, which HF peft holds as all biases of a backbone."""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import Tensor

from peftnas.methods.anatomy import LinearSite
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import BiasDelta
from peftnas.methods.interchange.paths import PREFIX, pieces, widened


@torch.no_grad()
def all_biases(attached: AttachedModules, wrapped: Container[str]) -> dict[str, Tensor]:
    """Every bias of the backbone, with what is added to it; nothing if no bias is trained.

    Those that are not trained keep their value, so the function is the same.

    Args:
        attached: modules, attached and not merged.
        wrapped: paths of linears that peft puts into a layer of its own.
    """
    added: dict[str, Tensor] = {}
    for address, _, module in pieces(attached):
        if isinstance(module, BiasDelta):
            anatomy = attached.anatomy
            site = anatomy.linears.get(address) or anatomy.norms[address]
            value: Tensor = module.value
            value = widened(value, site) if isinstance(site, LinearSite) else value
            added[site.path] = added[site.path] + value if site.path in added else value
    if not added:
        return {}
    found: dict[str, Tensor] = {}
    for name, bias in attached.base.state_dict().items():
        path, _, last = name.rpartition(".")
        if last == "bias":
            whole = bias + added[path].to(bias.device) if path in added else bias
            inside = ".base_layer" if path in wrapped else ""
            found[f"{PREFIX}{path}{inside}.bias"] = whole.to(bias.dtype)
    return found
