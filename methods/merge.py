"""Merging: constant changes of weights and biases go into the backbone, and out again exactly.

A merged layer gets parameters of its own, and on undoing its former ones back: another layer that
shares one with it is not changed, and shares it again afterwards. Sums are made in float64 and
rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peftnas.methods.base import Bundle, LinearDelta, RenormedDelta, TrainsBackbone
from peftnas.methods.hooks import Hooks, Placed
from peftnas.methods.linear_port import LinearPort, NormPort, PatchPort, own_part, own_rows
from peftnas.methods.sites import LinearSite


@dataclass(frozen=True)
class Merged:
    """What :meth:`AttachedModules.merge` did.

    Attributes:
        merged: sites whose modules are in the backbone's weights now, as ``site: kind``.
        remaining: those whose effect depends on the input; they still run as modules.
    """

    merged: tuple[str, ...]
    remaining: tuple[str, ...]


class Merger:
    """Merges on construction; keeps what is needed to undo it."""

    def __init__(self, hooks: Hooks, placed: Sequence[Placed]) -> None:
        self._folds: list[_Fold] = []
        # a branch projects its prompts by the frozen keys and values
        branched = [port for port in hooks.cores.values() if port.branches]
        read = {site.address for port in branched for site, _ in (port.key, port.value)}
        for address, linear in hooks.linears.items():
            if address not in read:
                self._folds.append(_fold_linear(linear))
        for norm in hooks.norms.values():
            self._folds.append(_fold_norm(norm))
        for patches in hooks.patches.values():
            self._folds.append(_fold_patches(patches))
        folded = {id(module) for fold in self._folds for module in fold.modules}
        in_weights: list[str] = []
        remaining: list[str] = []
        for placement, module in placed:
            parts = module.parts if isinstance(module, Bundle) else (module,)
            inside = isinstance(module, TrainsBackbone) or all(id(p) in folded for p in parts)
            (in_weights if inside else remaining).append(f"{placement.site}: {placement.kind}")
        self.report = Merged(tuple(in_weights), tuple(remaining))

    def undo(self) -> None:
        """Put the former tensors and modules back."""
        # several may have changed one module, a part of its outputs each
        for fold in reversed(self._folds):
            fold.undo()
        self._folds = []


class _Fold:
    """One port whose modules are (partly) folded into the parameters of its layer."""

    def __init__(
        self, port: LinearPort | NormPort | PatchPort, layer: nn.Module, names: Sequence[str]
    ) -> None:
        self.port = port
        self.layer = layer
        self.modules: list[nn.Module] = []
        self._lists: dict[str, list[nn.Module]] = {}
        self._former: dict[str, nn.Parameter | None] = {
            name: getattr(layer, name) for name in names
        }

    def take(self, name: str, modules: Sequence[nn.Module]) -> None:
        """Move modules from a list of the port to those that are folded."""
        held: list[nn.Module] = getattr(self.port, name)
        self._lists[name] = held
        taken = {id(module) for module in modules}
        setattr(self.port, name, [module for module in held if id(module) not in taken])
        self.modules.extend(modules)

    def undo(self) -> None:
        for name, modules in self._lists.items():
            setattr(self.port, name, modules)
        for name, former in self._former.items():
            merged: nn.Parameter | None = getattr(self.layer, name)
            if former is not None and merged is not None:
                # the model may have been moved in between
                former.data = former.data.to(merged.device, merged.dtype)
            self.layer.register_parameter(name, former)


@torch.no_grad()
def _fold_linear(port: LinearPort) -> _Fold:
    layer = port.module
    fold = _Fold(port, layer, ("weight", "bias"))
    changes = {id(delta): _change(port, delta) for delta in port.deltas}
    constant = [delta for delta in port.deltas if changes[id(delta)] is not None]
    remaining = [delta for delta in port.deltas if changes[id(delta)] is None]
    if any(delta.reads == "output" for delta in remaining):
        return fold  # it would read the product of another weight
    whole, whole_bias = _wide(layer.get_parameter("weight")), getattr(layer, "bias", None)
    whole_bias = None if whole_bias is None else _wide(whole_bias)
    weight, bias = own_rows(port.site, whole, whole_bias)
    for reads in ("rotated_input", "input"):
        for delta in constant:
            change = changes[id(delta)]
            if delta.reads == reads and change is not None:
                weight = weight + change.to(weight.dtype)
        if reads == "rotated_input":
            for rotation in reversed(port.rotations):  # the last one is next to the weight
                weight = rotation.rotated(weight)
    for added in port.biases:
        value = added.value.to(weight.dtype)
        bias = value if bias is None else bias + value
    if not remaining:
        # a delta that depends on the input would lose its share of the scaling
        weight, bias = _scaled(port, weight, bias)
        for name in ("scales_in", "scales_out", "affines"):
            fold.take(name, getattr(port, name))
    fold.take("deltas", constant)
    fold.take("biases", port.biases)
    fold.take("rotations", port.rotations)
    weight, bias = _whole_again(port.site, whole, whole_bias, weight, bias)
    _set(layer, "weight", weight)
    _set(layer, "bias", bias)
    return fold


def _change(port: LinearPort, delta: LinearDelta) -> Tensor | None:
    """What a delta adds to the weight in all; ``None`` when it depends on the input."""
    change = delta.weight_delta()
    if change is None or not isinstance(delta, RenormedDelta):
        return change
    weight, _ = own_part(port.site, port.module)
    factor = delta.factor(weight)[:, None]
    return (factor - 1) * weight.to(factor.dtype) + factor * change


def _scaled(port: LinearPort, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Weight and bias with all scales, and scale and shift, in them."""
    for before in port.scales_in:
        weight = weight * before.value.to(weight.dtype)
    for after in port.scales_out:
        weight = weight * after.value.to(weight.dtype)[:, None]
        bias = None if bias is None else bias * after.value.to(weight.dtype)
    for affine in port.affines:
        scale, shift = affine.scale.to(weight.dtype), affine.shift.to(weight.dtype)
        weight = weight * scale[:, None]
        bias = shift if bias is None else bias * scale + shift
    return weight, bias


def _whole_again(
    site: LinearSite,
    whole: Tensor,
    whole_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """What the module keeps, with a linear's own weight and bias in their place."""
    if site.rows is None:
        return (weight.T if site.transposed else weight), bias
    whole = (whole.T if site.transposed else whole).clone()
    rows = torch.tensor(site.rows.indices(whole.shape[0]), device=whole.device)
    whole[rows] = weight
    if bias is not None:
        whole_bias = whole.new_zeros(len(whole)) if whole_bias is None else whole_bias.clone()
        whole_bias[rows] = bias
    return (whole.T if site.transposed else whole), whole_bias


@torch.no_grad()
def _fold_norm(port: NormPort) -> _Fold:
    norm = port.norm
    has_bias = getattr(norm, "bias", None) is not None
    fold = _Fold(port, norm, ("weight", "bias") if has_bias else ("weight",))
    weight = _wide(norm.get_parameter("weight")) + port.offset
    bias = _wide(norm.get_parameter("bias")) if has_bias else None
    if bias is not None:  # without one, a norm has no room for a bias
        for added in port.biases:
            bias = bias + added.value.to(bias.dtype)
        fold.take("biases", port.biases)
    for delta in port.deltas:
        if delta.weight is not None:
            weight = weight + delta.weight.to(weight.dtype)
        if delta.bias is not None:
            assert bias is not None
            bias = bias + delta.bias.to(bias.dtype)
    if bias is not None:  # without one, a norm has no room for a shift
        for affine in port.affines:
            weight = weight * affine.scale.to(weight.dtype)
            bias = bias * affine.scale.to(bias.dtype) + affine.shift.to(bias.dtype)
        fold.take("affines", port.affines)
        _set(norm, "bias", bias)
    fold.take("deltas", port.deltas)
    _set(norm, "weight", weight - port.offset)
    return fold


@torch.no_grad()
def _fold_patches(port: PatchPort) -> _Fold:
    layer = port.module
    fold = _Fold(port, layer, ("weight", "bias"))
    weight, bias = _wide(layer.get_parameter("weight")), getattr(layer, "bias", None)
    bias = None if bias is None else _wide(bias)
    for affine in port.affines:
        scale, shift = affine.scale.to(weight.dtype), affine.shift.to(weight.dtype)
        weight = weight * scale[:, None, None, None]
        bias = shift if bias is None else bias * scale + shift
    fold.take("affines", port.affines)
    _set(layer, "weight", weight)
    _set(layer, "bias", bias)
    return fold


def _wide(tensor: Tensor) -> Tensor:
    """In 64 bits where the device has them, so that the merged value is rounded once."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def _set(layer: nn.Module, name: str, value: Tensor | None) -> None:
    """Give a layer a parameter of its own that holds a value; ``None``: it has none."""
    dtype = layer.get_parameter("weight").dtype
    made = None if value is None else nn.Parameter(value.to(dtype), requires_grad=False)
    layer.register_parameter(name, made)
