"""Merging: constant changes of weights and biases go into the backbone, and out again exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import LinearSite
from peftnas.methods.base import LinearDelta, TrainsBackbone
from peftnas.methods.hooks import Hooks, Placed
from peftnas.methods.ports import LinearPort, NormPort


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
        for linear in hooks.linears.values():
            self._folds.append(_fold_linear(linear))
        for norm in hooks.norms.values():
            self._folds.append(_fold_norm(norm))
        folded = {id(module) for fold in self._folds for module in fold.modules}
        in_weights: list[str] = []
        remaining: list[str] = []
        for placement, module in placed:
            inside = id(module) in folded or isinstance(module, TrainsBackbone)
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
        self, port: LinearPort | NormPort, layer: nn.Module, names: Sequence[str]
    ) -> None:
        self.port = port
        self.layer = layer
        self.modules: list[nn.Module] = []
        self._lists: dict[str, list[nn.Module]] = {}
        self._former = {name: _copy(getattr(layer, name)) for name in names}

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
            _set(self.layer, name, former)


@torch.no_grad()
def _fold_linear(port: LinearPort) -> _Fold:
    layer = port.module
    fold = _Fold(port, layer, ("weight", "bias"))
    whole, whole_bias = _wide(layer.get_parameter("weight")), getattr(layer, "bias", None)
    whole_bias = None if whole_bias is None else _wide(whole_bias)
    weight, bias = _own_part(port.site, whole, whole_bias)
    constant = [(delta, change) for delta, change in _changes(port.deltas) if change is not None]
    for _, change in constant:
        weight = weight + change.to(weight.dtype)
    for added in port.biases:
        value = added.value.to(weight.dtype)
        bias = value if bias is None else bias + value
    if len(constant) == len(port.deltas):
        # a delta that depends on the input would lose its share of the scaling
        for scale in port.scales_in:
            weight = weight * scale.value.to(weight.dtype)
        for scale in port.scales_out:
            weight = weight * scale.value.to(weight.dtype)[:, None]
            bias = None if bias is None else bias * scale.value.to(weight.dtype)
        fold.take("scales_in", port.scales_in)
        fold.take("scales_out", port.scales_out)
    fold.take("deltas", [delta for delta, _ in constant])
    fold.take("biases", port.biases)
    weight, bias = _whole_again(port.site, whole, whole_bias, weight, bias)
    _set(layer, "weight", weight)
    _set(layer, "bias", bias)
    return fold


def _own_part(
    site: LinearSite, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Weight (n_out, n_in) and bias of a linear alone, from those that its module keeps."""
    weight = weight.T if site.transposed else weight
    if site.rows is None:
        return weight, bias
    rows = torch.tensor(site.rows.indices(weight.shape[0]), device=weight.device)
    return weight[rows], None if bias is None else bias[rows]


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
    fold = _Fold(port, norm, ("bias",))
    bias = _wide(norm.get_parameter("bias"))
    for added in port.biases:
        bias = bias + added.value.to(bias.dtype)
    fold.take("biases", port.biases)
    _set(norm, "bias", bias)
    return fold


def _changes(deltas: Sequence[LinearDelta]) -> Iterator[tuple[LinearDelta, Tensor | None]]:
    for delta in deltas:
        yield delta, delta.weight_delta()


def _wide(tensor: Tensor) -> Tensor:
    """At least 32 bits, so that the sum is rounded once."""
    return tensor.float() if tensor.dtype.itemsize < 4 else tensor


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


@torch.no_grad()
def _set(layer: nn.Module, name: str, value: Tensor | None) -> None:
    """Write a value into a parameter in place; make or remove it where it was or becomes None."""
    parameter: nn.Parameter | None = getattr(layer, name)
    if parameter is not None and value is not None:
        parameter.copy_(value)
    elif value is None:
        layer.register_parameter(name, None)
    else:
        weight = layer.get_parameter("weight")
        layer.register_parameter(name, nn.Parameter(value.to(weight.dtype), requires_grad=False))
