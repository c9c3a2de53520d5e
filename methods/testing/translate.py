"""Configs of the `adapters` library, as stored with the reference vectors, as our methods."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from peftnas.methods.adapter import Adapter
from peftnas.methods.base import Method
from peftnas.methods.ia3 import IA3
from peftnas.methods.lora import LoRA
from peftnas.methods.prefix import Prefix
from peftnas.methods.prompt import Position, Prompt
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.structure import ByLayer

LINEAR_SITES = {"q": "query", "k": "key", "v": "value", "up": "up", "down": "down"}

_POSITIONS: dict[str, Position] = {"prefix": "before", "prefix_after_bos": "after_first"}

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "swish": "silu",
    "silu": "silu",
    "tanh": "tanh",
    "linear": "identity",
}


def translate(
    config: dict[str, Any], sizes: dict[str, int], tensors: Collection[str]
) -> Architecture:
    """The architecture that computes what the library computes with ``config``.

    Args:
        config: the field ``library_config`` of a case.
        sizes: the field ``sizes`` of its backbone; ``layers`` and ``width`` are used.
        tensors: names of the case's adapter tensors. They say on which linear layers LoRA and
            (IA)3 act, which the config alone leaves to the library's names for a family.
    Raises:
        NotImplementedError: where the library's function is none of ours, with the reason.
    """
    parts = config["configs"] if config.get("architecture") == "union" else [config]
    return Architecture(*(_method(part, sizes, tensors) for part in parts))


def _method(config: dict[str, Any], sizes: dict[str, int], tensors: Collection[str]) -> Method:
    layers = _layers(config, sizes["layers"])
    match config.get("architecture"):
        case None if "reduction_factor" in config:
            return _adapter(config, sizes, layers)
        case "prefix_tuning":
            return _prefix(config, layers)
        case "prompt_tuning":
            return _prompt(config)
        case "lora":
            return _linear_method(config, layers, tensors)
        case other:
            raise NotImplementedError(f"not one of our methods: {other!r} of the library")


def _adapter(
    config: dict[str, Any], sizes: dict[str, int], layers: tuple[int, ...] | None
) -> Adapter:
    sites = {
        (True, True): "both",
        (True, False): "attention",
        (False, True): "ffn",
    }
    site = sites[config["mh_adapter"], config["output_adapter"]]
    _refuse(config, "phm_layer", False, "Compacter's PHM layers")
    _refuse(config, "ln_before", False, "a norm inside the adapter")
    _refuse(config, "ln_after", False, "a norm inside the adapter")
    _refuse(config, "inv_adapter", None, "an invertible adapter")
    _refuse(config, "original_ln_after", True, "an adapter without the backbone's norm after it")
    _refuse(config, "adapter_residual_before_ln", False, "a residual taken inside the adapter")
    how: dict[str, Any]
    if config["is_parallel"]:
        _refuse(config, "original_ln_before", False, "a normed input of a parallel adapter")
        how = {"insertion": "parallel", "parallel_input": "residual"}
    elif not config["original_ln_before"]:
        how = {"placement": "houlsby"}
    else:
        _refuse(config, "residual_before_ln", True, "a residual taken after the norm")
        _refuse(config, "mh_adapter", False, "the Pfeiffer form at the attention sublayer")
        how = {"placement": "pfeiffer"}
    scale = config["scaling"]
    if isinstance(scale, str) and scale != "learned":
        raise NotImplementedError(f"a scale of kind {scale!r} is not ours")
    return Adapter(
        site=site,
        bottleneck=_bottleneck(config["reduction_factor"], sizes, layers),
        activation=_activation(config["non_linearity"]),
        scale=scale,
        layers=layers,
        **how,
        **_gate(config),
    )


def _prefix(config: dict[str, Any], layers: tuple[int, ...] | None) -> Prefix:
    if not config["flat"]:
        _refuse(config, "non_linearity", "tanh", "another nonlinearity in the prefix MLP")
    outputs = 1 if config["shared_gating"] or not config["use_gating"] else 2
    return Prefix(
        length=config["prefix_length"],
        mlp=None if config["flat"] else config["bottleneck_size"],
        layers=layers,
        gate_outputs=outputs,
        **_gate(config),
    )


def _prompt(config: dict[str, Any]) -> Prompt:
    if config["combine"] not in _POSITIONS:
        raise NotImplementedError(f"a prompt combined by {config['combine']!r} is not ours")
    return Prompt(
        length=config["prompt_length"], entry="hidden", position=_POSITIONS[config["combine"]]
    )


def _linear_method(
    config: dict[str, Any], layers: tuple[int, ...] | None, tensors: Collection[str]
) -> LoRA | IA3:
    _refuse(config, "use_dora", False, "DoRA")
    _refuse(config, "vera_d", None, "VeRA")
    if config["composition_mode"] == "scale":
        targets = _targets(tensors, "ia3")
        _refuse(config, "use_gating", False, "a gate on (IA)3")
        # the library scales outputs throughout
        return IA3(targets=targets, down_side="output", layers=layers)
    return LoRA(
        rank=config["r"],
        alpha=config["alpha"],
        targets=_targets(tensors, "lora_A"),
        layers=layers,
        **_gate(config),
    )


def _targets(tensors: Collection[str], ending: str) -> tuple[str, ...]:
    pattern = re.compile(rf"layer\.\d+\.(\w+)\.{ending}")
    found = {match[1] for name in tensors if (match := pattern.fullmatch(name))}
    unknown = found - set(LINEAR_SITES)
    if unknown:
        raise NotImplementedError(f"linear sites {sorted(unknown)} are none of ours")
    return tuple(site for name, site in LINEAR_SITES.items() if name in found)


def _layers(config: dict[str, Any], n_layers: int) -> tuple[int, ...] | None:
    left_out = set(config.get("leave_out") or ())
    return tuple(sorted(set(range(n_layers)) - left_out)) if left_out else None


def _bottleneck(
    factor: float | dict[str, float], sizes: dict[str, int], layers: tuple[int, ...] | None
) -> int | ByLayer[int]:
    """floor(width / factor), for one factor or for a table of factors by layer."""
    width = sizes["width"]
    if not isinstance(factor, dict):
        return int(width // factor)
    active = range(sizes["layers"]) if layers is None else layers
    factors = {layer: factor.get(str(layer), factor["default"]) for layer in active}
    return ByLayer({layer: int(width // value) for layer, value in factors.items()})


def _activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        raise NotImplementedError(f"the nonlinearity {name!r} is none of ours")
    return _ACTIVATIONS[name]


def _gate(config: dict[str, Any]) -> dict[str, Any]:
    return {"gate": "unipelt", "gate_tokens": "all"} if config["use_gating"] else {}


def _refuse(config: dict[str, Any], field: str, ours: Any, meaning: str) -> None:
    if config.get(field, ours) != ours:
        raise NotImplementedError(
            f"not one of our functions: {meaning} ({field}={config[field]!r} in the library)"
        )
