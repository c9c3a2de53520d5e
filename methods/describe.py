"""Reads the anatomy off a model, or off the config of one without any weights."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from peftnas.methods.anatomies import FAMILIES
from peftnas.methods.anatomies.family import Family, Stack
from peftnas.methods.anatomy import TARGETS, Anatomy
from peftnas.methods.backbone_parameters import backbone_parameters
from peftnas.methods.checks import check_backbone, check_family
from peftnas.methods.family_fit import UnsupportedBackboneError, check_family_fits
from peftnas.methods.family_probe import check_by_running
from peftnas.methods.hooks import is_attached
from peftnas.methods.read_stack import StackReader
from peftnas.methods.sites import LayerSite, LinearSite, NormSite, StackSite, SublayerSite

__all__ = ["ConfigKey", "UnsupportedBackboneError", "describe", "family_of"]


def describe(
    backbone: PreTrainedModel | PreTrainedConfig, family: Family | None = None
) -> Anatomy:
    """The anatomy of a model, or of the base model that a config stands for.

    Args:
        backbone: a model (its own modules are read, so a pooler that its head leaves out is
            absent), or a config (the base model is laid out without weights; cached).
        family: description of a family that the package does not know. Its names are checked, and
            where a model with weights is given, also what they do: two calls of a few tokens.
    Raises:
        TypeError: if an argument is of another kind.
        UnsupportedBackboneError: if no family describes it, or the given one does not fit.
    """
    check_backbone(backbone)
    check_family(family)
    if isinstance(backbone, PreTrainedModel):
        base = backbone.base_model
        anatomy = _read(base, backbone.config, family or family_of(backbone.config))
        own = family is not None and not any(family is known for known in FAMILIES)
        if own and isinstance(base, PreTrainedModel) and not is_attached(base):
            check_by_running(base, anatomy)
        return anatomy
    return _described(ConfigKey(backbone, family or family_of(backbone)))


def family_of(config: PreTrainedConfig) -> Family:
    """The known family of a config; ``UnsupportedBackboneError`` if there is none."""
    for family in FAMILIES:
        if config.model_type in family.model_types and all(
            getattr(config, name, None) == value for name, value in family.when.items()
        ):
            return family
    known = ", ".join(dict.fromkeys(name for family in FAMILIES for name in family.model_types))
    raise UnsupportedBackboneError(
        f"no anatomy describes backbones of type {config.model_type!r}; known: {known}. Write a "
        "peftnas.methods.Family literal (CONTRIBUTING.md, Add a backbone family) and pass it: "
        "attach(model, ..., anatomy=describe(model, family)), load(folder, model, "
        "anatomy=describe(model, family)), costs(..., family=family), in a "
        "study backbone=peftnas.search.Backbone(folder, family=family), whose file "
        "`peftnas doctor --backbone FILE` takes too"
    )


class ConfigKey:
    """What a cached anatomy depends on: the content of a config, and a family by identity."""

    def __init__(self, config: PreTrainedConfig, family: Family) -> None:
        self.config_class = type(config)
        self.text = json.dumps(config.to_dict(), sort_keys=True, default=str)
        self.family = family

    def config(self) -> PreTrainedConfig:
        """A config of its own with that content."""
        config: PreTrainedConfig = self.config_class.from_dict(json.loads(self.text))
        return config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConfigKey) and self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[str, str, int]:
        return self.config_class.__name__, self.text, id(self.family)


@functools.lru_cache(maxsize=64)
def _described(key: ConfigKey) -> Anatomy:
    config = key.config()
    with torch.device("meta"), _ShapesAlone():
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
    return _read(model.base_model, config, key.family)


class _ShapesAlone(TorchFunctionMode):
    """Leaves out the initial values of linears, which take a third of the time."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        if func in (nn.init.kaiming_uniform_, nn.init.uniform_, nn.init.normal_):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


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
    stacks: list[StackSite] = []
    layers: list[LayerSite] = []
    linears: dict[str, LinearSite] = {}
    norms: dict[str, NormSite] = {}
    sublayers: dict[str, SublayerSite] = {}
    there = [stack for stack in family.stacks if _is_there(base, stack)] or family.stacks[:1]
    present = [_without_encoder(there[0]), *there[1:]]
    check_family_fits(base, config, family, present)
    for number, stack in enumerate(present):
        reader = StackReader(base, config, family, stack, number, first_layer=len(layers))
        layers.extend(reader.layers())
        linears |= reader.linears
        norms |= reader.norms()
        sublayers |= reader.sublayers
        stacks.append(reader.site())
    names = {name for stack in present for name in stack.linears}
    return Anatomy(
        family=family.name,
        model_type=config.model_type,
        norm_order=family.norm_order,
        positions=family.positions,
        backbone_parameters=sum(p.numel() for p in backbone_parameters(base).values()),
        stacks=tuple(stacks),
        layers=tuple(layers),
        targets=tuple(name for name in TARGETS if name in names),
        linears=linears,
        norms=norms,
        sublayers=sublayers,
    )


def _without_encoder(stack: Stack) -> Stack:
    """The first stack of a model: it attends to no other, even if its layers know how to."""
    return dataclasses.replace(
        stack,
        linears={k: v for k, v in stack.linears.items() if not k.startswith("cross_")},
        sublayers={k: v for k, v in stack.sublayers.items() if k != "cross_attention"},
    )


def _is_there(base: nn.Module, stack: Stack) -> bool:
    """Whether a model has a stack: an encoder alone has no decoder."""
    return not stack.entry or any(name == stack.entry for name, _ in base.named_modules())
