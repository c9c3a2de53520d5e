"""Ports of linears and norms: all that acts at one of them, in one fixed order.

At a linear (methods.md section 1): scaled input, base product of the rotated input, biases, deltas
(those that change the weight itself read the rotated input too), the renormalised product, scaled
output, last a scale and shift. Ports hold modules and the state of the running call; hooks are
their bound methods, so a port can be copied and pickled with the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from peftnas.methods.anatomy import LinearSite
from peftnas.methods.base import (
    Affine,
    BiasDelta,
    InputDelta,
    LinearDelta,
    NormDelta,
    RenormedDelta,
    Rescale,
    Rotation,
)
from peftnas.methods.call import Call, compute


class LinearPort:
    """All that acts at one linear; of a fused projection, at the outputs of that linear.

    Args:
        site: the linear.
        module: its module in the backbone.
        call: state of the stack whose tokens it reads.
    """

    def __init__(self, site: LinearSite, module: nn.Module, call: Call) -> None:
        self.site = site
        self.module = module
        self.call = call
        # numbers of its outputs, worked out once: a forward pass only looks them up
        self._rows: Tensor | None = None
        if site.rows is not None:
            self._rows = torch.tensor(site.rows.indices(site.n_out * site.rows.parts))
        self.inputs: list[InputDelta] = []
        self.scales_in: list[Rescale] = []
        self.rotations: list[Rotation] = []
        self.biases: list[BiasDelta] = []
        self.deltas: list[LinearDelta] = []
        self.scales_out: list[Rescale] = []
        self.affines: list[Affine] = []
        self._straight: Tensor | None = None

    @property
    def changes_input(self) -> bool:
        """Whether the base product reads anything else than what the linear is given."""
        return bool(self.inputs or self.scales_in or self.rotations)

    @property
    def needs_input_hook(self) -> bool:
        """Whether :meth:`change_input` has to run: a fused projection works it out by itself."""
        return self.changes_input and self._rows is None

    @property
    def needs_output_hook(self) -> bool:
        """Whether :meth:`change_output` has to run."""
        after = bool(self.biases or self.deltas or self.scales_out or self.affines)
        return after or (self.changes_input and self._rows is not None)

    def add(self, module: nn.Module) -> None:
        """Take in a module of one of the roles that act at a linear."""
        match module:
            case InputDelta():
                self.inputs.append(module)
            case Rotation():
                self.rotations.append(module)
            case LinearDelta():
                self.deltas.append(module)
            case BiasDelta():
                self.biases.append(module)
            case Rescale():
                (self.scales_in if module.side == "input" else self.scales_out).append(module)
            case Affine():
                self.affines.append(module)
            case _:
                raise TypeError(f"a {type(module).__name__} does not act at a linear")

    def change_input(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Forward pre-hook; not of a part of a fused projection, whose input others read too."""
        straight, rotated = self._inputs(self.call.by_sequence(args[0]))
        if self.deltas:
            self._straight = straight
        return (rotated.view(args[0].shape), *args[1:])

    def change_output(self, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        """Forward hook; ``args`` are those after :meth:`change_input`."""
        x, whole = self.call.by_sequence(args[0]), self.call.by_sequence(out)
        if self._rows is None:
            straight = x if self._straight is None else self._straight
            self._straight = None
            return self._changed(straight, x, whole).view(out.shape)
        self._rows = rows = self._rows.to(out.device)
        part, straight, rotated = whole.index_select(-1, rows), x, x
        if self.changes_input:
            straight, rotated = self._inputs(x)
            part = nn.functional.linear(rotated, *own_part(self.site, self.module))
        part = self._changed(straight, rotated, part)
        return whole.index_copy(-1, rows, part).view(out.shape)

    def _inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What deltas read, and what the base product reads, instead of ``x`` (B, T, n_in)."""
        given = x
        for before in self.inputs:
            x = x + compute(before, x, self.call.drop(given), self.call.tokens_of(given))
        for scale in self.scales_in:
            x = x * scale.value.to(x.dtype)
        rotated = x
        for rotation in self.rotations:
            rotated = compute(rotation, x, rotated)
        return x, rotated

    def _changed(self, straight: Tensor, rotated: Tensor, out: Tensor) -> Tensor:
        product = out
        for bias in self.biases:
            out = out + bias.value.to(out.dtype)
        if self.deltas:
            out = self._with_deltas(straight, rotated, product, out)
        for scale in self.scales_out:
            out = out * scale.value.to(out.dtype)
        for affine in self.affines:
            out = out * affine.scale.to(out.dtype) + affine.shift.to(out.dtype)
        return out

    def _with_deltas(
        self, straight: Tensor, rotated: Tensor, product: Tensor, out: Tensor
    ) -> Tensor:
        dropped = self.call.drop(straight)
        tokens = self.call.tokens_of(dropped)
        for delta in self.deltas:
            if isinstance(delta, RenormedDelta):
                weight, bias = own_part(self.site, self.module)
                factor = delta.factor(weight).to(out.dtype)
                bare = product if bias is None else product - bias.to(product.dtype)
                out = out + (factor - 1) * bare
                out = out + factor * compute(delta, out, dropped, tokens)
            elif delta.reads == "output":
                out = out + compute(delta, out, self.call.drop(product), tokens)
            elif delta.reads == "rotated_input":
                out = out + compute(delta, out, rotated, tokens)
            else:
                out = out + compute(delta, out, dropped, tokens)
        return out


class NormPort:
    """All that acts at the output of one norm.

    Args:
        norm: its module in the backbone.
        offset: what the norm adds to the weight that it keeps.
    """

    def __init__(self, norm: nn.Module, offset: float = 0.0) -> None:
        self.norm = norm
        self.offset = offset
        self.biases: list[BiasDelta] = []
        self.deltas: list[NormDelta] = []
        self.affines: list[Affine] = []

    def add(self, module: nn.Module) -> None:
        """Take in a module of one of the roles that act at a norm."""
        match module:
            case BiasDelta():
                self.biases.append(module)
            case NormDelta():
                self.deltas.append(module)
            case Affine():
                self.affines.append(module)
            case _:
                raise TypeError(f"a {type(module).__name__} does not act at a norm")

    def apply(self, x: Tensor) -> Tensor:
        """The norm of ``x`` with everything that acts here and without any other hook."""
        return self.change_output(self.norm, (x,), self.norm.forward(x))

    def change_output(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook."""
        if self.deltas:
            out = self._with_deltas(args[0], out)
        for bias in self.biases:
            out = out + bias.value.to(out.dtype)
        for affine in self.affines:
            out = out * affine.scale.to(out.dtype) + affine.shift.to(out.dtype)
        return out

    def _with_deltas(self, x: Tensor, out: Tensor) -> Tensor:
        norm = self.norm
        if isinstance(norm, nn.LayerNorm) and out.dtype == torch.float32:
            # one more forward, but not one more backward; 16 bits would lose small deltas
            weight: Tensor = norm.weight
            bias: Tensor | None = norm.bias
            for delta in self.deltas:
                weight = weight if delta.weight is None else weight + delta.weight
                if delta.bias is not None:
                    bias = delta.bias if bias is None else bias + delta.bias
            return nn.functional.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
        unit = normalised(norm, x)
        if out.dtype == torch.float32:
            # by the summed weight, added up as a merge does, so that both round alike
            summed: Tensor = norm.get_parameter("weight")
            for delta in self.deltas:
                summed = summed if delta.weight is None else summed + delta.weight
            out = unit * (summed + self.offset)
        else:
            for delta in self.deltas:
                if delta.weight is not None:
                    out = out + unit * delta.weight.to(out.dtype)
        for delta in self.deltas:
            if delta.bias is not None:
                out = out + delta.bias.to(out.dtype)
        return out


class PatchPort:
    """All that acts at the output of the convolution that embeds the patches of an image."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.affines: list[Affine] = []

    def add(self, module: nn.Module) -> None:
        """Take in a scale and shift."""
        if not isinstance(module, Affine):
            raise TypeError(f"a {type(module).__name__} does not act at the embedding of patches")
        self.affines.append(module)

    def change_output(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook; ``out`` is (B, d, height, width)."""
        for affine in self.affines:
            out = out * affine.scale.to(out.dtype)[:, None, None]
            out = out + affine.shift.to(out.dtype)[:, None, None]
        return out


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """What a norm multiplies its weight with, in the dtype of ``x``.

    A LayerNorm subtracts the mean; every other norm of a backbone is a root-mean-square norm,
    whose epsilon is its attribute ``eps`` or ``variance_epsilon``.
    """
    if isinstance(norm, nn.LayerNorm):
        return nn.functional.layer_norm(x, norm.normalized_shape, eps=norm.eps)
    eps: float = getattr(norm, "variance_epsilon", None) or getattr(norm, "eps")  # noqa: B009
    wide = x.float()
    unit = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
    return unit.to(x.dtype)


def own_part(site: LinearSite, module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight (n_out, n_in) and bias (n_out,) of a linear alone; of a fused one, its rows."""
    weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
    return own_rows(site, weight, bias)


def own_rows(
    site: LinearSite, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The same of tensors that have the shape of those that the module keeps."""
    weight = weight.T if site.transposed else weight
    if site.rows is None:
        return weight, bias
    rows = torch.tensor(site.rows.indices(weight.shape[0]), device=weight.device)
    return weight[rows], None if bias is None else bias[rows]
