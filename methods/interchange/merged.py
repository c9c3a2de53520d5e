"""A plain transformers folder with everything merged into the weights of the backbone."""

from __future__ import annotations

import copy
import itertools
import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from peftnas.methods.attach import AttachedModules, check_attached
from peftnas.methods.interchange.compare import (
    ROUNDING,
    Inputs,
    answer_of,
    difference,
    hidden_of,
    quiet,
    sample,
)
from peftnas.methods.interchange.unmergeable import refusal_of

SWITCHES = ("attention_bias", "mlp_bias", "use_bias")
"""Fields of configs that say whether linears have biases."""


def save_merged(
    attached: AttachedModules, folder: str | Path, *, batch: Inputs | None = None
) -> None:
    """Write a folder that transformers loads without peftnas and peft.

    It has the class of the model that ``attach`` was given, its task head with the head's values
    (``AutoModel`` reads the backbone alone from it), and the parts of that model: of one without a
    pooler it has no pooler. The folder is loaded again and compared; the model is left as it was.

    Args:
        attached: modules with their trained values.
        folder: new or empty; missing after an error.
        batch: what to compare on; by default random words, images or sounds.
    Raises:
        TypeError: if ``attached`` is not what ``attach`` returned.
        ValueError: if the folder holds something, a module cannot be merged, plain transformers
            cannot hold what is merged, or the outputs of the folder differ from ours.
    """
    check_attached(attached, "save_merged")
    _check_empty(Path(folder))
    batch = sample(attached) if batch is None else batch
    base, model = attached.base, attached.model
    if model is not base and model.config is not base.config:
        raise ValueError(
            f"the head of a {type(model).__name__} has a config apart from its backbone's, so one "
            "folder cannot hold both; attach to model.base_model, and save the head beside it"
        )
    with merged_weights(attached, batch) as (config, state):
        whole = state if model is base else model.state_dict()
        write_plain(_empty(model, config), whole, folder)
        check_plain(type(model), folder, base, hidden_of(attached, batch), batch, whole)


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "holds files" if folder.is_dir() else "is a file"
        raise ValueError(
            f"save_merged writes a new or empty folder, got {folder}, which {what}; "
            "name another one"
        )


def check_mergeable(attached: AttachedModules) -> None:
    """Raise the ``ValueError`` of :func:`save_merged` that follows from the architecture alone.

    Args:
        attached: modules with any values.
    """
    with _merged(attached):
        pass


@contextmanager
def merged_weights(
    attached: AttachedModules, batch: Inputs
) -> Iterator[tuple[PreTrainedConfig, dict[str, Tensor]]]:
    """Config and state dict of the backbone with everything merged, for the time inside.

    Raises:
        ValueError: if a module cannot be merged, merging changes the outputs on ``batch``, or
            plain transformers cannot hold the result.
    """
    was_merged = attached.is_merged
    attached.unmerge()
    ours = hidden_of(attached, batch)
    try:
        with _merged(attached) as (config, state):
            apart = difference(ours, hidden_of(attached, batch), batch, attached.base.dtype)
            if apart > ROUNDING.get(attached.base.dtype, 1.0):
                raise _differs(apart, "merged")
            yield config, state
    finally:
        if was_merged:
            attached.merge()


@contextmanager
def _merged(
    attached: AttachedModules,
) -> Iterator[tuple[PreTrainedConfig, dict[str, Tensor]]]:
    """The same, without a look at the outputs; not merged afterwards."""
    base = attached.base
    attached.unmerge()
    _check_ties(attached)
    before = set(base.state_dict())
    report = attached.merge()
    try:
        if report.remaining:
            raise refusal_of(attached, report)
        state = base.state_dict()
        created = set(state) - before
        config = copy.deepcopy(base.config)
        yield (_switched(base, config, created) if created else config), state
    finally:
        attached.unmerge()


def write_plain(model: PreTrainedModel, state: Mapping[str, Tensor], folder: str | Path) -> None:
    """Write a model of these very tensors; biases that they lack are 0.

    Args:
        model: without weights, on the meta device; used up.
        state: under the names of that model; others are left out.
        folder: new or empty.
    """
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    like = next(value for value in state.values() if value.is_floating_point())
    zeros = {
        name: torch.zeros(shape, dtype=like.dtype, device=like.device)
        for name, shape in shapes.items()
        if name not in state and name.endswith(".bias")
    }
    known = {name: value for name, value in state.items() if name in shapes}
    model.load_state_dict(known | zeros, assign=True)
    with quiet():
        model.save_pretrained(folder)


def check_plain(
    factory: Any,
    folder: str | Path,
    base: PreTrainedModel,
    ours: Tensor,
    batch: Inputs,
    head: Mapping[str, Tensor] | None = None,
) -> None:
    """Load a folder again and compare; one that answers otherwise is removed.

    Args:
        factory: that loads it, a class of transformers.
        folder: written by :func:`write_plain`.
        base: says data type, device and attention to compare with.
        ours: last hidden states, or logits of a classifier.
        batch: what they come from.
        head: tensors of a model around its backbone; then ``ours`` are last hidden states, and
            tensors of the head are compared one by one.
    Raises:
        ValueError: if the answers differ.
    """
    with quiet():
        again = factory.from_pretrained(
            folder, dtype=base.dtype, attn_implementation=base.config._attn_implementation
        ).to(base.device)
    theirs = answer_of(again if head is None else again.base_model, batch)
    apart = difference(ours, theirs, batch, base.dtype)
    if head is not None and not _same_head(again, head):
        apart = math.inf
    if apart > 1.0:
        shutil.rmtree(folder)
        raise _differs(apart, "loaded with transformers")


def _same_head(model: PreTrainedModel, head: Mapping[str, Tensor]) -> bool:
    inside = f"{model.base_model_prefix}."
    return all(
        name in head and torch.equal(value, head[name].to(value))
        for name, value in model.state_dict().items()
        if model.base_model is not model and not name.startswith(inside)
    )


def _differs(apart: float, how: str) -> ValueError:
    return ValueError(
        f"{how} the outputs differ by {apart:.1f} times what is tolerated, so nothing was "
        "written; keep peftnas's own format"
    )


def _check_ties(attached: AttachedModules) -> None:
    """A weight with two names would change in both places."""
    base, linears = attached.base, attached.anatomy.linears
    names = Counter(
        id(parameter) for _, parameter in base.named_parameters(remove_duplicate=False)
    )
    for placement, _ in attached.placed:
        site = linears.get(placement.site)
        if site is None:
            continue
        weight = base.get_submodule(site.path).get_parameter("weight")
        if names[id(weight)] > 1:
            raise ValueError(
                f"{placement.kind} at {placement.site} cannot be merged: the weight there is tied "
                "to another one, which would change with it; keep peftnas's own format"
            )


def _switched(
    base: PreTrainedModel, config: PreTrainedConfig, created: set[str]
) -> PreTrainedConfig:
    """A config whose model has the biases that merging has made."""
    names = set(base.state_dict())
    off = [name for name in SWITCHES if getattr(config, name, None) is False]
    for chosen in _subsets(off):
        changed = copy.deepcopy(config)
        for name in chosen:
            setattr(changed, name, True)
        there = set(_empty(base, changed).state_dict())
        if names <= there and all(name.endswith(".bias") for name in there - names):
            return changed
    raise ValueError(
        f"merging makes a bias at {min(created)!r}, which no config of a {config.model_type} "
        "backbone of transformers has; keep peftnas's own format"
    )


def _empty(base: PreTrainedModel, config: PreTrainedConfig) -> PreTrainedModel:
    """A model of the class of ``base`` and with its parts, on the meta device."""
    with torch.device("meta"):
        model = type(base)(config)
    _leave_out(model, base)
    if getattr(base, "generation_config", None) is not None:
        model.generation_config = base.generation_config
    return model


def _leave_out(model: nn.Module, base: nn.Module) -> None:
    """Take off the modules that ``base`` was built without, such as a pooler."""
    for name, module in list(model.named_children()):
        there = getattr(base, name, None)
        if there is None:
            setattr(model, name, None)
        else:
            _leave_out(module, there)


def _subsets(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    names = tuple(names)
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)
