"""Reads the sites of one stack of layers off a model, by the paths of its family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from peftnas.methods.anatomies.family import Family, Fused, Stack, SublayerPaths, Tap
from peftnas.methods.anatomy import linear_address, outer_norm_address, sublayer_address
from peftnas.methods.family_fit import check_not_quantised
from peftnas.methods.sites import LayerSite, LinearSite, NormSite, Rows, StackSite, SublayerSite

Modules = Mapping[str, nn.Module]
"""The modules of a model by path: looked up hundreds of times."""


class StackReader:
    """Sites of one stack.

    Args:
        base: the base model; its parameters may lie on the meta device.
        config: of the model.
        family: that describes it.
        stack: one of the family's stacks.
        number: of the stack in the anatomy.
        first_layer: number of its first layer in the anatomy.
    Raises:
        AttributeError: if a path of the stack does not exist, or is no module of its kind.
    """

    def __init__(
        self,
        base: nn.Module,
        config: PreTrainedConfig,
        family: Family,
        stack: Stack,
        number: int,
        first_layer: int,
    ) -> None:
        self._modules = dict(base.named_modules(remove_duplicate=False))
        self._config: Any = getattr(config, stack.config) if stack.config else config
        self._stack = stack
        self._number = number
        self._prefix = f"{stack.name}." if stack.name else ""
        self._causal = stack.causal or bool(not stack.name and getattr(config, "is_decoder", 0))
        self._shared = {
            name
            for name, when in stack.shared.items()
            if all(getattr(self._config, key, None) == value for key, value in when.items())
        }
        self._paths = {first_layer + i: path for i, path in enumerate(_children(base, stack))}
        self._norm_order = family.norm_order
        self._norm_offset = family.norm_offset
        self.linears = self._linears()
        self.sublayers = {
            site.address: site
            for layer in self._paths
            for name, paths in stack.sublayers.items()
            for site in [self._sublayer(layer, name, paths)]
        }

    def site(self) -> StackSite:
        """The stack itself."""
        stack, words = self._stack, self._stack.word_embeddings
        first = next(iter(self.layers()))
        width = first.width
        if words is not None:
            width = _weight(self._modules, words).shape[1]
        return StackSite(
            stack.name,
            tuple(self._paths),
            self._causal,
            stack.entry,
            stack.tokens,
            stack.embeddings,
            words,
            width,
            stack.patches,
            stack.flattens,
        )

    def layers(self) -> list[LayerSite]:
        """Its layers in order."""
        heads = 0 if self._stack.heads is None else int(getattr(self._config, self._stack.heads))
        return [self._layer(layer, path, heads) for layer, path in self._paths.items()]

    def norms(self) -> dict[str, NormSite]:
        """Norms of its sublayers and those outside the layers, by address."""
        paths = {f"{address}.norm": site.norm for address, site in self.sublayers.items()}
        paths |= {
            f"layers[{layer}].{name}": f"{inside}.{path}"
            for layer, inside in self._paths.items()
            for name, path in self._stack.inner_norms.items()
        }
        outer = self._stack.outer_norms
        paths |= {self._prefix + outer_norm_address(name): path for name, path in outer.items()}
        shared = {path for name, path in outer.items() if name in self._shared}
        there = self._modules
        # some of them depend on the config, and so does whether they have a weight
        return {
            address: _norm(there[path], address, path, self._norm_offset, path in shared)
            for address, path in paths.items()
            if path in there and getattr(there[path], "weight", None) is not None
        }

    def _layer(self, layer: int, path: str, heads: int) -> LayerSite:
        inside = self.linears.get(linear_address(layer, "up"))
        inside = inside or self.linears[linear_address(layer, "in_proj")]
        width = inside.n_in
        query = self.linears.get(linear_address(layer, "query"))
        if query is None:
            return LayerSite(path, self._number, width, inside.n_out, 0, 0, 0)
        key = self.linears[linear_address(layer, "key")]
        head_width = query.n_out // heads
        kv_heads = key.n_out // head_width
        return LayerSite(path, self._number, width, inside.n_out, heads, kv_heads, head_width)

    def _linears(self) -> dict[str, LinearSite]:
        found = [
            self._linear(linear_address(layer, name), path, where, name)
            for layer, path in self._paths.items()
            for name, where in self._stack.linears.items()
        ]
        found += [
            self._linear(self._prefix + name, "", path, name)
            for name, path in self._stack.outer_linears.items()
            if path in self._modules  # depends on the head and on the config
        ]
        return {site.address: site for site in found}

    def _linear(self, address: str, layer: str, where: str | Fused, name: str) -> LinearSite:
        fused = where if isinstance(where, Fused) else None
        path = where.path if isinstance(where, Fused) else where
        path = f"{layer}.{path}" if layer else path
        module = _module(self._modules, path)
        check_not_quantised(module, path)
        if not isinstance(module, nn.Linear | Conv1D):
            raise AttributeError(f"{path} is a {type(module).__name__}, not a Linear")
        weight = module.weight
        n_out, n_in = weight.shape if isinstance(module, nn.Linear) else reversed(weight.shape)
        rows = None
        if fused is not None:
            assert self._stack.heads is not None
            heads = int(getattr(self._config, self._stack.heads))
            rows = Rows(fused.part, fused.parts, heads if fused.per_head else 1)
            n_out //= fused.parts
        # keys and values of a cross-attention are those of the encoder's tokens
        stack = 0 if name in ("cross_key", "cross_value") else self._number
        transposed = isinstance(module, Conv1D)
        has_bias = module.bias is not None
        return LinearSite(
            *(address, path, n_in, n_out, has_bias, stack, rows, transposed),
            shared=name in self._shared,
        )

    def _sublayer(self, layer: int, name: str, paths: SublayerPaths) -> SublayerSite:
        inside = self._paths[layer]
        tap = paths.residual
        if f"{inside}.{paths.norm}" not in self._modules:
            raise AttributeError(f"there is no module {inside}.{paths.norm}")
        return SublayerSite(
            address=sublayer_address(layer, name),
            residual=Tap(f"{inside}.{tap.module}", tap.index, tap.name),
            exit=f"{inside}.{paths.exit}",
            norm=f"{inside}.{paths.norm}",
            core=None if paths.core is None else f"{inside}.{paths.core}",
            norm_order=self._norm_order,
            stack=self._number,
        )


def _children(base: nn.Module, stack: Stack) -> list[str]:
    """Paths of a stack's layers; a ``*`` in the path of their list stands for every child."""
    outer, star, inner = stack.layers.partition(".*.")
    if not star:
        lists = [outer]
    else:
        lists = [
            f"{outer}.{name}.{inner}" for name, _ in base.get_submodule(outer).named_children()
        ]
    return [
        f"{path}.{name}" for path in lists for name, _ in base.get_submodule(path).named_children()
    ]


def _norm(module: nn.Module, address: str, path: str, offset: float, shared: bool) -> NormSite:
    bias = getattr(module, "bias", None) is not None
    return NormSite(address, path, module.get_parameter("weight").shape[0], bias, offset, shared)


def _module(modules: Modules, path: str) -> nn.Module:
    if path not in modules:
        raise AttributeError(f"there is no module {path}")
    return modules[path]


def _weight(modules: Modules, path: str) -> nn.Parameter:
    return _module(modules, path).get_parameter("weight")
