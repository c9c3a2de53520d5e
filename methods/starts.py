"""Starts that are read off the frozen backbone: prompts from words, prefixes from their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import Placement
from peftnas.methods.linear_port import own_part
from peftnas.methods.prefix_modules import FlatPrefix, FlatPrefixPlacement
from peftnas.methods.prompt import PromptPlacement, SoftPrompt
from peftnas.methods.sites import StackSite


@torch.no_grad()
def start_from_backbone(
    base: PreTrainedModel, anatomy: Anatomy, placed: Sequence[tuple[Placement, nn.Module]]
) -> None:
    """Set the values of modules that do not start at random; nothing is attached yet.

    Raises:
        ValueError: if a token id is beyond the vocabulary.
    """
    for placement, module in placed:
        if isinstance(placement, PromptPlacement) and isinstance(module, SoftPrompt):
            if placement.start != "random":
                _start_prompt(base, anatomy, placement, module)
    prefixes = [
        (placement, module)
        for placement, module in placed
        if isinstance(placement, FlatPrefixPlacement)
        and isinstance(module, FlatPrefix)
        and placement.tokens is not None
    ]
    for tokens in dict.fromkeys(placement.tokens for placement, _ in prefixes):
        assert tokens is not None
        alike = [pair for pair in prefixes if pair[0].tokens == tokens]
        _start_prefixes(base, anatomy, tokens, alike)


def _start_prompt(
    base: PreTrainedModel, anatomy: Anatomy, placement: PromptPlacement, module: SoftPrompt
) -> None:
    """The word embeddings of given tokens, or of tokens drawn from the vocabulary."""
    path = anatomy.stacks[placement.stack].word_embeddings
    assert path is not None
    words = base.get_submodule(path)
    size = int(words.get_parameter("weight").shape[0])
    if module.draws is not None:
        ids = [min(int(part * size), size - 1) for part in module.draws.tolist()]
    else:
        assert placement.tokens is not None
        ids = _repeated(placement.tokens, placement.length)
    _check(ids, size)
    device = words.get_parameter("weight").device
    module.embedding.copy_(words(torch.tensor(ids, device=device)))


def _start_prefixes(
    base: PreTrainedModel,
    anatomy: Anatomy,
    tokens: tuple[int, ...],
    prefixes: Sequence[tuple[FlatPrefixPlacement, FlatPrefix]],
) -> None:
    """What the frozen backbone computes as keys and values of these tokens, before positions."""
    length = prefixes[0][0].length
    ids = _repeated(tokens, length)
    reader: Any = base.get_submodule(_readers(anatomy)[0].entry)
    table: Tensor = reader.get_input_embeddings().weight
    _check(ids, int(table.shape[0]))
    given = torch.tensor([ids], device=table.device)
    sites = {
        (placement.layers[0], placement.sublayer, name): anatomy.linears[
            f"layers[{placement.layers[0]}].{placement.sublayer}.{name}"
        ]
        for placement, _ in prefixes
        for name in ("key", "value")
    }
    read: dict[tuple[int, str, str], Tensor] = {}
    handles = []
    for key, site in sites.items():

        def keep(
            module: nn.Module, args: Any, out: Tensor, key: Any = key, site: Any = site
        ) -> None:
            part = nn.functional.linear(args[0], *own_part(site, module))
            read[key] = part.view(-1, part.shape[-1])[: len(ids)]

        handles.append(base.get_submodule(site.path).register_forward_hook(keep))
    training = base.training
    try:
        base.train(False)
        _read(base, anatomy, given)
    finally:
        base.train(training)
        for handle in handles:
            handle.remove()
    for placement, module in prefixes:
        for name, target in (("key", module.keys), ("value", module.values)):
            found = read[placement.layers[0], placement.sublayer, name]
            target.copy_(found.view(target.shape))


def _read(base: PreTrainedModel, anatomy: Anatomy, given: Tensor) -> None:
    """Every stack that reads words reads these (1, l); alone, where others read no words."""
    readers = _readers(anatomy)
    if len(readers) < len(anatomy.stacks):
        for stack in readers:
            base.get_submodule(stack.entry)(input_ids=given)
        return
    both = {"decoder_input_ids": given} if len(readers) > 1 else {}
    base(input_ids=given, **both, use_cache=False)


def _readers(anatomy: Anatomy) -> list[StackSite]:
    """The stacks that read words."""
    return [stack for stack in anatomy.stacks if stack.tokens is not None]


def _repeated(tokens: Sequence[int], length: int) -> list[int]:
    """The tokens, repeated or cut to a length."""
    return [tokens[i % len(tokens)] for i in range(length)]


def _check(ids: Sequence[int], size: int) -> None:
    if max(ids) >= size:
        raise ValueError(
            f"tokens must be ids in the vocabulary, 0 to {size - 1}, got {max(ids)}; "
            "take them from the backbone's own tokenizer"
        )
