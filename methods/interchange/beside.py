"""Norms and biases beside a layer method, in the same adapter of HF peft.

Biases are all those of the backbone (``bias="all"``), where a method's config can say so. Norms
are held whole (``modules_to_save``), and then their biases too. What is not trained keeps its
frozen value, so the function is the same.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import BiasDelta, NormDelta, Placement
from peftnas.methods.hooks import unbundled
from peftnas.methods.interchange.paths import LACKING, PREFIX, refusal, widened
from peftnas.methods.interchange.whole import Values, whole_norms
from peftnas.methods.sites import LinearSite

if TYPE_CHECKING:
    from peft import PeftConfig


def linear_biases(
    attached: AttachedModules, *, new: bool = False
) -> Iterator[tuple[LinearSite, Placement, Tensor]]:
    """Site, placement and vector (n_out of the whole projection,) of each bias at a linear.

    Args:
        attached: modules, attached and not merged.
        new: only where the backbone has none.
    """
    for placement, address, module in unbundled(attached.placed):
        site = attached.anatomy.linears.get(address)
        if isinstance(module, BiasDelta) and site is not None:
            frozen = getattr(attached.base.get_submodule(site.path), "bias", None)
            if frozen is None or not new:
                yield site, placement, widened(module.value, site)


@torch.no_grad()
def with_norms_and_biases(
    attached: AttachedModules, config: Any, tensors: dict[str, Tensor], held: Container[str] = ()
) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The adapter of a layer method with what is trained of norms and biases.

    Args:
        attached: modules, attached and not merged.
        config: of the layer method; changed.
        tensors: of the layer method; changed.
        held: paths of linears whose biases they hold already.
    Raises:
        ValueError: if a bias is new to the backbone, or this method's config has no biases.
    """
    at_linears = _at_linears(attached, config, held)
    norms = whole_norms(attached)
    if not hasattr(config, "bias") or _has_weights(attached):
        config, tensors = hold_norms(attached, config, tensors, norms)
    if at_linears or (norms and config.modules_to_save is None):
        config.bias = "all"
        tensors |= _all_biases(attached, config, at_linears | norms)
    return config, tensors


def hold_norms(
    attached: AttachedModules, config: Any, tensors: dict[str, Tensor], norms: Values
) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The adapter of a layer method with whole norms beside it, as ``modules_to_save``."""
    held = _found_by_peft(attached, norms)
    config.modules_to_save = sorted(held) or None
    return config, tensors | {
        f"{PREFIX}{path}.{name}": value
        for path, values in held.items()
        for name, value in values.items()
    }


def _has_weights(attached: AttachedModules) -> bool:
    return any(isinstance(module, NormDelta) for _, _, module in unbundled(attached.placed))


def _at_linears(attached: AttachedModules, config: Any, held: Container[str]) -> Values:
    """Path of each projection whose bias is trained -> ``bias``, its whole value."""
    found: Values = {}
    for site, placement, value in linear_biases(attached):
        if site.path in held:
            continue
        bias = getattr(attached.base.get_submodule(site.path), "bias", None)
        if not hasattr(config, "bias"):
            raise refusal(placement, "beside this method it trains no bias", site.address)
        if bias is None:
            raise refusal(placement, LACKING, site.address)
        whole = found.setdefault(site.path, {"bias": bias})
        whole["bias"] = (whole["bias"] + value.to(bias.device)).to(bias.dtype)
    return found


def _found_by_peft(attached: AttachedModules, norms: Values) -> Values:
    """The same, and all modules whose path ends with that of one of them, which peft takes too."""
    ends = tuple(norms)
    return {
        path: norms.get(path, dict(module.state_dict()))
        for path, module in attached.base.named_modules()
        if path.endswith(ends)
    }


def _all_biases(attached: AttachedModules, config: Any, changed: Values) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, bias in attached.base.state_dict().items():
        path, _, last = name.rpartition(".")
        if last != "bias":
            continue
        whole = changed.get(path, {}).get("bias", bias)
        if path in (config.modules_to_save or ()):
            # peft names the frozen norm's, and its own twice
            found[f"{PREFIX}{path}.original_module.bias"] = bias
            found[f"{PREFIX}{path}.modules_to_save.bias"] = whole
            continue
        inside = ".base_layer" if re.fullmatch(config.target_modules, path) else ""
        found[f"{PREFIX}{path}{inside}.bias"] = whole
    return found
