"""A plain transformers folder with everything merged into the weights of the backbone."""

from __future__ import annotations

import copy
import itertools
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from peftnas.methods.attach import AttachedModules
from peftnas.methods.interchange.compare import (
    ROUNDING,
    Inputs,
    answer_of,
    difference,
    hidden_of,
    quiet,
    sample,
)

SWITCHES = ("attention_bias", "mlp_bias", "use_bias")
"""Fields of configs that say whether linears have biases."""


def save_merged(
    attached: AttachedModules, folder: str | Path, *, batch: Inputs | None = None
) -> None:
    """Write what ``AutoModel.from_pretrained(folder)`` loads without peftnas and peft.

    The folder is loaded again and compared; the backbone is left as it was.

    Args:
        attached: modules with their trained values.
        folder: new or empty; missing after an error.
        batch: what to compare on; by default random words.
    Raises:
        ValueError: if a module cannot be merged, plain transformers cannot hold what is merged, or
            the outputs of the folder differ from ours.
    """
    batch = sample(attached) if batch is None else batch
    with merged_weights(attached, batch) as (config, state):
        write_plain(AutoModel, config, state, folder)
        check_plain(AutoModel, folder, attached.base, hidden_of(attached, batch), batch)


@contextmanager
def merged_weights(
    attached: AttachedModules, batch: Inputs
) -> Iterator[tuple[PreTrainedConfig, dict[str, Tensor]]]:
    """Config and state dict of the backbone with everything merged, for the time inside.

    Raises:
        ValueError: if a module cannot be merged, merging changes the outputs on ``batch``, or
            plain transformers cannot hold the result.
    """
    base, was_merged = attached.base, attached.is_merged
    attached.unmerge()
    ours = hidden_of(attached, batch)
    _check_ties(attached)
    before = set(base.state_dict())
    report = attached.merge()
    try:
        if report.remaining:
            others = len(report.remaining) - 1
            raise ValueError(
                "everything must be mergeable for plain transformers, but what "
                f"{report.remaining[0]} adds depends on the input"
                + (f" (and {others} more)" if others else "")
                + "; keep peftnas's own format"
            )
        apart = difference(ours, hidden_of(attached, batch), batch, base.dtype)
        if apart > ROUNDING:
            raise _differs(apart, "merged")
        state = base.state_dict()
        created = set(state) - before
        config = copy.deepcopy(base.config)
        if created:
            config = _switched(config, created, set(state))
        yield config, state
    finally:
        if not was_merged:
            attached.unmerge()


def write_plain(
    factory: Any, config: PreTrainedConfig, state: Mapping[str, Tensor], folder: str | Path
) -> None:
    """Write a model of these very tensors; biases that they lack are 0.

    Args:
        factory: such as ``AutoModel``.
        config: of the model.
        state: under the names of that model; others are left out.
        folder: new or empty.
    """
    with torch.device("meta"):
        model: PreTrainedModel = factory.from_config(config)
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
    factory: Any, folder: str | Path, base: PreTrainedModel, ours: Tensor, batch: Inputs
) -> None:
    """Load a folder again and compare; one that answers otherwise is removed.

    Args:
        factory: that loads it, such as ``AutoModel``.
        folder: written by :func:`write_plain`.
        base: says data type, device and attention to compare with.
        ours: last hidden states, or logits of a classifier.
        batch: what they come from.
    Raises:
        ValueError: if the answers differ.
    """
    with quiet():
        again = factory.from_pretrained(
            folder, dtype=base.dtype, attn_implementation=base.config._attn_implementation
        ).to(base.device)
    apart = difference(ours, answer_of(again, batch), batch, base.dtype)
    if apart > 1.0:
        shutil.rmtree(folder)
        raise _differs(apart, "loaded with transformers")


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


def _switched(config: PreTrainedConfig, created: set[str], names: set[str]) -> PreTrainedConfig:
    """A config whose model has the biases that merging has made."""
    off = [name for name in SWITCHES if getattr(config, name, None) is False]
    for chosen in _subsets(off):
        changed = copy.deepcopy(config)
        for name in chosen:
            setattr(changed, name, True)
        with torch.device("meta"):
            there = set(AutoModel.from_config(changed).state_dict())  # type: ignore[no-untyped-call]
        if names <= there and all(name.endswith(".bias") for name in there - names):
            return changed
    raise ValueError(
        f"merging makes a bias at {min(created)!r}, which no config of a {config.model_type} "
        "backbone of transformers has; keep peftnas's own format"
    )


def _subsets(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    names = tuple(names)
    for size in range(1, len(names) + 1):
        yield from itertools.combinations(names, size)
