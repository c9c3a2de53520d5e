"""Checks of what a user hands to the public functions: one sentence with the remedy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from peftnas.methods.anatomies.family import Family
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.sites import LinearSite, NormSite


def check_anatomy(anatomy: Any) -> None:
    """Raise ``TypeError`` unless it is an anatomy."""
    if not isinstance(anatomy, Anatomy):
        raise TypeError(
            f"an Anatomy is needed, got {named(anatomy)}; pass describe(model) or describe(config)"
        )


def check_config(config: Any) -> None:
    """Raise ``TypeError`` unless it is the config of a backbone."""
    if isinstance(config, PreTrainedModel):
        raise TypeError(f"a transformers config is needed, got {named(config)}; pass its .config")
    if not isinstance(config, PreTrainedConfig):
        raise TypeError(
            f"a transformers config is needed, got {named(config)}; "
            "load one with AutoConfig.from_pretrained"
        )


def check_backbone(backbone: Any) -> None:
    """Raise ``TypeError`` unless it is a model, or the config of one."""
    if not isinstance(backbone, PreTrainedModel | PreTrainedConfig):
        raise TypeError(
            f"a transformers model or its config is needed, got {named(backbone)}; "
            "load one with AutoModel.from_pretrained, or AutoConfig.from_pretrained"
        )


def check_model(model: Any) -> None:
    """Raise ``TypeError`` unless it is a model."""
    if not isinstance(model, PreTrainedModel):
        raise TypeError(
            f"attach needs a transformers model, got {named(model)}; "
            "load one with AutoModel.from_pretrained"
        )


def check_dropout(dropout: Any) -> None:
    """Raise ``ValueError`` unless it is a probability below 1."""
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a number in [0, 1), got {dropout!r}; take 0 for none")


def check_seed(seed: Any) -> None:
    """Raise ``ValueError`` unless it is a whole number from 0 on."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"a seed must be a whole number from 0 on, got {seed!r}; take 0")


def check_family(family: Any) -> None:
    """Raise ``TypeError`` unless it is a family, or ``None``."""
    if family is not None and not isinstance(family, Family):
        raise TypeError(
            f"family must be a peftnas.methods.Family, got {named(family)}; "
            "leave it out for the model types that are known"
        )


def check_dtype(dtype: Any) -> None:
    """Raise ``TypeError`` unless it is a dtype."""
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype must be one of torch's, got {dtype!r}; take torch.float32")


def check_fits(anatomy: Anatomy, base: PreTrainedModel) -> None:
    """Raise ``ValueError`` if an anatomy is that of another backbone.

    Args:
        anatomy: as given to ``attach``.
        base: the base model that modules are to be attached to.
    """
    misfit = _misfit(anatomy, base)
    if misfit:
        raise ValueError(
            f"the anatomy must be that of the model, but {misfit}; "
            "pass describe(model), or leave it out"
        )


def _misfit(anatomy: Anatomy, base: PreTrainedModel) -> str:
    """The first thing that the model has otherwise, in words; "" if there is none."""
    if anatomy.model_type != base.config.model_type:
        return f"it is of a {anatomy.model_type} backbone and the model a {base.config.model_type}"
    modules = dict(base.named_modules())
    for layer in anatomy.layers:
        if layer.path not in modules:
            return f"the model has no layer {layer.path!r}"
    lists = {layer.path.rpartition(".")[0] for layer in anatomy.layers}
    there = sum(len(list(modules[path].children())) for path in lists)
    if there != anatomy.n_layers:
        return f"it has {anatomy.n_layers} layers and the model {there}"
    sites: list[LinearSite | NormSite] = [*anatomy.linears.values(), *anatomy.norms.values()]
    for site in sites:
        if not site.address.startswith("layers["):
            continue  # a head may leave a pooler out, which matters only where one is asked for
        if site.path not in modules:
            return f"the model has no {site.path!r}"
        if _size(site) != modules[site.path].get_parameter("weight").numel():
            return f"{site.address} has another size in the model"
    return ""


def _size(site: LinearSite | NormSite) -> int:
    """Elements of the weight of its module."""
    if isinstance(site, NormSite):
        return site.width
    return site.n_in * site.n_out * (1 if site.rows is None else site.rows.parts)


def check_site(anatomy: Anatomy, placement: Any, site: str, there: Collection[str]) -> None:
    """Raise ``ValueError`` if a method's own file places a module where the backbone has nothing.

    Args:
        anatomy: of the backbone.
        placement: of the module.
        site: its address.
        there: addresses at which a module of its role can act.
    """
    if site in there:
        return
    first = [one for one in there if one.startswith("layers[0]")] or list(there)
    raise ValueError(
        f"{type(placement).__name__} names the site {site!r}, which this {anatomy.model_type} "
        f"backbone does not have (it has {', '.join(first[:8])}); leave the method out, and let "
        "its place() refuse such a backbone by anatomy.check_sublayers or check_targets"
    )


def named(given: Any) -> str:
    """What was given, short enough for a sentence."""
    text = repr(given)
    if len(text) <= 80 and not isinstance(given, nn.Module | PreTrainedConfig):
        return text
    name = type(given).__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
