"""Configs of the `adapters` library, as stored with the reference vectors, as our methods."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from peftnas.methods.adapter import Adapter
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import Method
from peftnas.methods.compacter import Compacter
from peftnas.methods.ia3 import IA3
from peftnas.methods.lora import LoRA
from peftnas.methods.prefix import Prefix
from peftnas.methods.prompt import Position, Prompt
from peftnas.methods.reft import Form, ReFT
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.structure import ByLayer

LINEAR_SITES = {
    **{"q": "query", "k": "key", "v": "value", "up": "up", "down": "down"},
    **{"self.q": "query", "self.k": "key", "self.v": "value"},
    **{"cross.q": "cross_query", "cross.k": "cross_key", "cross.v": "cross_value"},
}

_POSITIONS: dict[str, Position] = {"prefix": "before", "prefix_after_bos": "after_first"}

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "swish": "silu",
    "silu": "silu",
    "tanh": "tanh",
    "linear": "identity",
}


def translate(config: dict[str, Any], anatomy: Anatomy, tensors: Collection[str]) -> Architecture:
    """The architecture that computes what the library computes with ``config``.

    Args:
        config: the field ``library_config`` of a case.
        anatomy: of its backbone.
        tensors: names of the case's adapter tensors. They say on which linear layers LoRA and
            (IA)3 act, which the config alone leaves to the library's names for a family.
    Raises:
        NotImplementedError: where the library's function is none of ours, with the reason.
    """
    parts = config["configs"] if config.get("architecture") == "union" else [config]
    return Architecture(*(m for part in parts for m in _methods(part, anatomy, tensors)))


def _methods(config: dict[str, Any], anatomy: Anatomy, tensors: Collection[str]) -> list[Method]:
    layers = _layers(config, anatomy.n_layers)
    match config.get("architecture"):
        case None if "reduction_factor" in config:
            return _adapters(config, anatomy, layers)
        case "prefix_tuning":
            return [_prefix(config, anatomy, layers)]
        case "prompt_tuning":
            return [_prompt(config)]
        case "lora":
            return [_linear_method(config, layers, tensors)]
        case "reft":
            return [_reft(config)]
        case other:
            raise NotImplementedError(f"not one of our methods: {other!r} of the library")


def _adapters(
    config: dict[str, Any], anatomy: Anatomy, layers: tuple[int, ...] | None
) -> list[Method]:
    flags = {"mh_adapter": "attention", "output_adapter": "ffn"}
    if any(site.address.endswith(".cross_attention") for site in anatomy.sublayers.values()):
        flags["cross_adapter"] = "cross_attention"
    _refuse(config, "ln_before", False, "a norm inside the adapter")
    _refuse(config, "ln_after", False, "a norm inside the adapter")
    _refuse(config, "inv_adapter", None, "an invertible adapter")
    _refuse(config, "original_ln_after", True, "an adapter without the backbone's norm after it")
    _refuse(config, "adapter_residual_before_ln", False, "a residual taken inside the adapter")
    if config.get("phm_layer"):
        return [_compacter(config, anatomy, layers)]
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
    return [
        Adapter(
            site=site,
            bottleneck=_bottleneck(config["reduction_factor"], anatomy, layers),
            activation=_activation(config["non_linearity"]),
            scale=scale,
            layers=layers,
            **how,
            **_gate(config),
        )
        for flag, site in flags.items()
        if config[flag]
    ]


def _compacter(
    config: dict[str, Any], anatomy: Anatomy, layers: tuple[int, ...] | None
) -> Compacter:
    for field, ours in {
        **{"shared_phm_rule": True, "factorized_phm_rule": False, "factorized_phm_W": True},
        **{"shared_W_phm": False, "phm_rank": 1, "phm_bias": True, "learn_phm": True},
        **{"is_parallel": False, "original_ln_before": False, "use_gating": False},
        **{"scaling": 1.0, "cross_adapter": False},
    }.items():
        _refuse(config, field, ours, "another Compacter than rank 1 with one trained rule")
    sites = {(True, True): "both", (True, False): "attention", (False, True): "ffn"}
    bottleneck = _bottleneck(config["reduction_factor"], anatomy, layers)
    if not isinstance(bottleneck, int):
        raise NotImplementedError("not one of our functions: Compacter of several widths")
    return Compacter(
        site=sites[config["mh_adapter"], config["output_adapter"]],
        bottleneck=bottleneck,
        parts=config["phm_dim"],
        activation=_activation(config["non_linearity"]),
        layers=layers,
    )


def _prefix(config: dict[str, Any], anatomy: Anatomy, layers: tuple[int, ...] | None) -> Prefix:
    if not config["flat"]:
        _refuse(config, "non_linearity", "tanh", "another nonlinearity in the prefix MLP")
    sublayers = ["attention"]
    if any(site.address.endswith(".cross_attention") for site in anatomy.sublayers.values()):
        sublayers += ["cross_attention"] if config["cross_prefix"] else []
        if not config["encoder_prefix"]:
            encoder = anatomy.stacks[0].layers
            every = range(anatomy.n_layers) if layers is None else layers
            layers = tuple(layer for layer in every if layer not in encoder)
    outputs = 1 if config["shared_gating"] or not config["use_gating"] else 2
    return Prefix(
        length=config["prefix_length"],
        mlp=None if config["flat"] else config["bottleneck_size"],
        sublayers=tuple(sublayers),
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


def _reft(config: dict[str, Any]) -> ReFT:
    _refuse(config, "output_reft", True, "ReFT at another place than a layer's output")
    _refuse(config, "non_linearity", None, "a nonlinearity in ReFT")
    forms: dict[tuple[bool, bool], Form] = {
        (True, True): "loreft",
        (False, True): "noreft",
        (False, False): "direft",
    }
    how = (config["orthogonality"], config["subtract_projection"])
    if how not in forms:
        raise NotImplementedError("not one of our functions: direft with orthonormal rows")
    return ReFT(
        rank=config["r"],
        form=forms[how],
        first=config["prefix_positions"],
        last=config["suffix_positions"],
        tied=config["tied_weights"],
        layers=None if config["layers"] == "all" else tuple(config["layers"]),
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
    pattern = re.compile(rf"(?:\w+\.)?layer\.\d+\.((?:self\.|cross\.)?\w+)\.{ending}")
    found = {match[1] for name in tensors if (match := pattern.fullmatch(name))}
    unknown = found - set(LINEAR_SITES)
    if unknown:
        raise NotImplementedError(f"linear sites {sorted(unknown)} are none of ours")
    return tuple(dict.fromkeys(site for name, site in LINEAR_SITES.items() if name in found))


def _layers(config: dict[str, Any], n_layers: int) -> tuple[int, ...] | None:
    left_out = set(config.get("leave_out") or ())
    return tuple(sorted(set(range(n_layers)) - left_out)) if left_out else None


def _bottleneck(
    factor: float | dict[str, float], anatomy: Anatomy, layers: tuple[int, ...] | None
) -> int | ByLayer[int]:
    """floor(width / factor), for one factor or for a table of factors by layer."""
    width = anatomy.width
    if not isinstance(factor, dict):
        return int(width // factor)
    active = range(anatomy.n_layers) if layers is None else layers
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
