"""Connects built modules to a backbone: one port for each changed place, and its hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attention import PrefixPort, use_prefix_attention
from peftnas.methods.base import (
    BiasDelta,
    LinearDelta,
    Placement,
    PrefixKeyValues,
    PromptVectors,
    Rescale,
    SublayerDelta,
    TrainsBackbone,
)
from peftnas.methods.model_port import ModelPort
from peftnas.methods.ports import Call, LinearPort, NormPort, SublayerPort

Placed = tuple[Placement, nn.Module]


class PlacedByLayer(Protocol):
    """What the placement of a prefix says: the layers that it serves."""

    layers: tuple[int, ...]


class Hooks:
    """All ports and hooks of one attached architecture.

    Args:
        base: the base model.
        anatomy: its anatomy.
        placed: placements and the modules built from them.
        call: state of the running pass.
    """

    def __init__(
        self, base: PreTrainedModel, anatomy: Anatomy, placed: Sequence[Placed], call: Call
    ) -> None:
        self.base = base
        self.anatomy = anatomy
        self.call = call
        self.linears: dict[str, LinearPort] = {}
        self.norms: dict[str, NormPort] = {}
        self.prefixes: dict[int, PrefixPort] = {}
        prefixed = any(isinstance(module, PrefixKeyValues) for _, module in placed)
        self.model = ModelPort(base, anatomy, _of(placed, PromptVectors), prefixed, call)
        self._former_attention: str | None = None
        self._handles: list[RemovableHandle] = []
        try:
            self._connect(self._sort(placed))
        except Exception:
            self.remove()
            raise

    def remove(self) -> None:
        """Take every hook away and give the backbone its attention function back."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if self._former_attention is not None:
            self.base.set_attn_implementation(self._former_attention)
            self._former_attention = None

    def _connect(self, sublayers: dict[str, list[SublayerDelta]]) -> None:
        """Register all hooks; on one module in the order in which they compose."""
        self._hook_model()
        self._hook_linears()
        self._hook_norms()
        self._hook_sublayers(sublayers)
        self._hook_prefixes()

    def _sort(self, placed: Sequence[Placed]) -> dict[str, list[SublayerDelta]]:
        sublayers: dict[str, list[SublayerDelta]] = {}
        for placement, module in placed:
            if isinstance(module, SublayerDelta):
                sublayers.setdefault(placement.site, []).append(module)
            elif isinstance(module, PrefixKeyValues):
                for layer in cast(PlacedByLayer, placement).layers:
                    port = self.prefixes.setdefault(layer, PrefixPort(layer, self.call))
                    port.prefixes.append(module)
            elif isinstance(module, LinearDelta | Rescale | BiasDelta):
                self._port(placement.site).add(module)
            elif not isinstance(module, PromptVectors | TrainsBackbone):
                raise TypeError(
                    f"{type(module).__name__} has none of the roles of methods/base.py"
                )
        return sublayers

    def _port(self, address: str) -> LinearPort | NormPort:
        linear = self.anatomy.linears.get(address)
        if linear is not None:
            module = self._module(linear.path)
            assert isinstance(module, nn.Linear)
            return self.linears.setdefault(address, LinearPort(module, self.call))
        return self._norm_port(address)

    def _norm_port(self, address: str) -> NormPort:
        path = self.anatomy.norms[address].path
        return self.norms.setdefault(address, NormPort(self._module(path)))

    def _module(self, path: str) -> nn.Module:
        try:
            return self.base.get_submodule(path)
        except AttributeError as error:
            raise ValueError(
                f"the anatomy names {path!r}, which this {type(self.base).__name__} lacks; "
                "describe the model itself: attach(model, ..., anatomy=describe(model))"
            ) from error

    def _hook_model(self) -> None:
        port, base = self.model, self.base
        self._keep(base.register_forward_pre_hook(port.change_arguments, with_kwargs=True))
        if port.prompts and port.bare:
            layer = self._module(self.anatomy.embeddings)
            self._keep(layer.register_forward_hook(port.enter_bare))

    def _hook_linears(self) -> None:
        for port in self.linears.values():
            if port.scales_in:
                self._keep(port.linear.register_forward_pre_hook(port.scale_input))
            if port.biases or port.deltas or port.scales_out:
                self._keep(port.linear.register_forward_hook(port.change_output))

    def _hook_norms(self) -> None:
        for port in self.norms.values():
            self._keep(port.norm.register_forward_hook(port.change_output))

    def _hook_sublayers(self, sublayers: dict[str, list[SublayerDelta]]) -> None:
        for address, deltas in sublayers.items():
            site = self.anatomy.sublayers[address]
            norm = self.norms.get(f"{address}.norm") or NormPort(self._module(site.norm))
            port = SublayerPort(site, norm, deltas, self.call)
            tap = self._module(site.residual.module)
            self._keep(tap.register_forward_pre_hook(port.keep_residual, with_kwargs=True))
            self._keep(self._module(site.exit).register_forward_hook(port.add_before_norm))
            if site.norm_order == "pre":
                self._keep(norm.norm.register_forward_hook(port.keep_normed))
            elif port.after:
                self._keep(norm.norm.register_forward_hook(port.add_after_norm))

    def _hook_prefixes(self) -> None:
        if self.prefixes:
            self._former_attention = use_prefix_attention(self.base)
        for layer, port in self.prefixes.items():
            core = self._module(self.anatomy.cores[layer])
            self._keep(core.register_forward_pre_hook(port.hand_down, with_kwargs=True))

    def _keep(self, handle: RemovableHandle) -> None:
        self._handles.append(handle)


def is_attached(base: nn.Module) -> bool:
    """Whether an architecture is attached to a base model now."""
    hooks = base._forward_pre_hooks.values()
    return any(isinstance(getattr(hook, "__self__", None), ModelPort) for hook in hooks)


def _of(placed: Sequence[Placed], role: type[PromptVectors]) -> list[PromptVectors]:
    return [module for _, module in placed if isinstance(module, role)]
