"""Reads the anatomy off a model, or off the config of one without any weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from peftnas.methods.anatomies import FAMILIES
from peftnas.methods.anatomies.family import Family, SublayerPaths, Tap
from peftnas.methods.anatomy import (
    Anatomy,
    LinearSite,
    NormSite,
    SublayerSite,
    linear_address,
    outer_norm_address,
)


class UnsupportedBackboneError(ValueError):
    """No family describes the backbone."""


def describe(
    backbone: PreTrainedModel | PreTrainedConfig, family: Family | None = None
) -> Anatomy:
    """The anatomy of a model, or of the base model that a config stands for.

    Args:
        backbone: a model (its own modules are read, so a pooler that its head leaves out is
            absent), or a config (the base model is laid out without weights; cached).
        family: description of a family that the package does not know.
    Raises:
        UnsupportedBackboneError: if no family describes it.
    """
    if isinstance(backbone, PreTrainedModel):
        return _read(backbone.base_model, backbone.config, family or family_of(backbone.config))
    return _described(_Key(backbone, family or family_of(backbone)))


def family_of(config: PreTrainedConfig) -> Family:
    """The known family of a config; ``UnsupportedBackboneError`` if there is none."""
    for family in FAMILIES:
        if config.model_type in family.model_types:
            return family
    known = ", ".join(name for family in FAMILIES for name in family.model_types)
    raise UnsupportedBackboneError(
        f"no anatomy describes backbones of type {config.model_type!r}; known: {known}. Write one "
        "peftnas.methods.Family literal (see methods/anatomies/bert.py) and pass it as "
        "describe(config, family=...), in a study as Backbone(folder, family=...)"
    )


class _Key:
    """What a cached anatomy depends on: the content of a config, and a family by identity."""

    def __init__(self, config: PreTrainedConfig, family: Family) -> None:
        self.config_class = type(config)
        self.text = json.dumps(config.to_dict(), sort_keys=True, default=str)
        self.family = family

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[str, str, int]:
        return self.config_class.__name__, self.text, id(self.family)


@functools.lru_cache(maxsize=64)
def _described(key: _Key) -> Anatomy:
    config = key.config_class.from_dict(json.loads(key.text))
    with torch.device("meta"):
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    return _read(model.base_model, config, key.family)


def _read(base: nn.Module, config: PreTrainedConfig, family: Family) -> Anatomy:
    _check_supported(config, family)
    try:
        return _assemble(base, config, family)
    except AttributeError as error:
        raise UnsupportedBackboneError(
            f"family {family.name!r} does not fit this {type(base).__name__}: {error}; "
            "correct the paths of its literal"
        ) from error


def _check_supported(config: PreTrainedConfig, family: Family) -> None:
    if getattr(config, "chunk_size_feed_forward", 0):
        raise UnsupportedBackboneError(
            "the FFN must see whole sequences, got chunk_size_feed_forward="
            f"{config.chunk_size_feed_forward}; set it to 0 in the config"
        )
    if getattr(config, "add_cross_attention", False):
        raise UnsupportedBackboneError(
            f"{family.name} backbones with cross-attention are not described; "
            "set add_cross_attention=False in the config"
        )


def _assemble(base: nn.Module, config: PreTrainedConfig, family: Family) -> Anatomy:
    n_layers = len(list(base.get_submodule(family.layers).children()))
    linears = _linears(base, n_layers, family)
    sublayers = _sublayers(n_layers, family)
    query, key = linears[linear_address(0, "query")], linears[linear_address(0, "key")]
    heads: int = config.num_attention_heads
    words = base.get_parameter(f"{family.word_embeddings}.weight")
    return Anatomy(
        family=family.name,
        model_type=config.model_type,
        n_layers=n_layers,
        width=query.n_in,
        ffn_width=linears[linear_address(0, "up")].n_out,
        heads=heads,
        kv_heads=key.n_out * heads // query.n_out,
        head_width=query.n_out // heads,
        embedding_width=words.shape[1],
        norm_order=family.norm_order,
        causal=family.causal or bool(getattr(config, "is_decoder", False)),
        learned_positions=family.learned_positions,
        backbone_parameters=sum(parameter.numel() for parameter in base.parameters()),
        targets=tuple(family.linears),
        linears=linears,
        norms=_norms(base, sublayers, family),
        sublayers=sublayers,
        cores=tuple(f"{family.layers}.{layer}.{family.core}" for layer in range(n_layers)),
        embeddings=family.embeddings,
        word_embeddings=family.word_embeddings,
    )


def _linears(base: nn.Module, n_layers: int, family: Family) -> dict[str, LinearSite]:
    paths = {
        linear_address(layer, name): f"{family.layers}.{layer}.{path}"
        for layer in range(n_layers)
        for name, path in family.linears.items()
    }
    # which of these exist depends on the head and on the config
    there = {name for name, _ in base.named_modules()}
    paths |= {name: path for name, path in family.outer_linears.items() if path in there}
    return {address: _linear(base, address, path) for address, path in paths.items()}


def _norms(
    base: nn.Module, sublayers: Mapping[str, SublayerSite], family: Family
) -> dict[str, NormSite]:
    paths = {f"{address}.norm": site.norm for address, site in sublayers.items()}
    paths |= {outer_norm_address(name): path for name, path in family.outer_norms.items()}
    return {address: _norm(base, address, path) for address, path in paths.items()}


def _sublayers(n_layers: int, family: Family) -> dict[str, SublayerSite]:
    sites = [
        _sublayer(f"layers[{layer}].{name}", layer, paths, family)
        for layer in range(n_layers)
        for name, paths in (("attention", family.attention), ("ffn", family.ffn))
    ]
    return {site.address: site for site in sites}


def _linear(base: nn.Module, address: str, path: str) -> LinearSite:
    module = base.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise AttributeError(f"{path} is a {type(module).__name__}, not a Linear")
    return LinearSite(
        address, path, module.in_features, module.out_features, module.bias is not None
    )


def _norm(base: nn.Module, address: str, path: str) -> NormSite:
    weight = base.get_parameter(f"{path}.weight")
    bias = getattr(base.get_submodule(path), "bias", None)
    return NormSite(address, path, weight.numel(), bias is not None)


def _sublayer(address: str, layer: int, paths: SublayerPaths, family: Family) -> SublayerSite:
    inside = f"{family.layers}.{layer}."
    tap = paths.residual
    return SublayerSite(
        address=address,
        residual=Tap(inside + tap.module, tap.index, tap.name),
        exit=inside + paths.exit,
        norm=inside + paths.norm,
        norm_order=family.norm_order,
    )
