"""The check of everything written in another form: the same last hidden states as ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.utils import logging

from peftnas.methods.attach import AttachedModules
from peftnas.methods.reads import Reads, inputs_for
from peftnas.methods.reads import answer_of as hidden_in

TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""The largest difference, in units of the largest value there is (at least of 1).

In 16 bits peft computes its modules in 32 bits, where ours compute in 16.
"""
ROUNDING = {torch.float32: 5.0, torch.float16: 3.0, torch.bfloat16: 3.0}
"""How much more merging may change: every merged weight is rounded once more.

Nine architectures on every backbone of ``testing/tiny.py`` change at most 2.5, but for T5 in 16
bits up to 17: its weights there are so large that rounding alone makes another function of it
(and 3.1 of its logits in float32).
"""

Inputs = Mapping[str, Tensor]


def sample(attached: AttachedModules) -> Inputs:
    """Three rows of random words (7, 5 and 3, padded on the right), images or sounds."""
    base = attached.base
    generator = torch.Generator().manual_seed(0)
    named = inputs_for(base, attached.anatomy, Reads(batch=3, tokens=7, padded=True))
    batch = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    for name, value in batch.items():
        if value.is_floating_point():
            batch[name] = torch.randn(value.shape, generator=generator).to(value.dtype)
    words: int = getattr(base.config.get_text_config(), "vocab_size", 0)
    if "input_ids" in batch:
        ids = torch.randint(words, (3, 7), generator=generator)
        mask = torch.arange(7) < torch.tensor([[7], [5], [3]])
        pad = getattr(base.config, "pad_token_id", None)
        batch |= {"input_ids": ids.masked_fill(~mask, pad or 0), "attention_mask": mask.long()}
    if "decoder_input_ids" in batch:
        batch["decoder_input_ids"] = torch.randint(words, (3, 5), generator=generator)
    return {name: tensor.to(base.device) for name, tensor in batch.items()}


def hidden_of(attached: AttachedModules, batch: Inputs) -> Tensor:
    """What :func:`answer_of` gives of our backbone, without positions of a prompt."""
    with _evaluating(attached):
        answer = answer_of(attached.base, batch)
    return attached.real(answer) if answer.dim() == 3 else answer


def answer_of(model: nn.Module, batch: Inputs) -> Tensor:
    """What a model answers, without dropout.

    Logits, (B, n) of a classifier or (B, T, n) of a language model; else last hidden states
    (B, l + T, d), or the vectors of two towers side by side, (B, n).
    """
    with torch.no_grad(), _evaluating(model):
        answer = model(**batch)
    logits: Tensor | None = getattr(answer, "logits", None)
    return hidden_in(answer) if logits is None else logits


def difference(ours: Tensor, theirs: Tensor, batch: Inputs, dtype: torch.dtype) -> float:
    """How far two answers are from each other, in units of what is tolerated: 1 is allowed.

    Args:
        ours: last hidden states (B, T, d), or logits (B, n).
        theirs: the same, or hidden states behind those of a prompt, (B, l + T, d).
        batch: what both were called with; of hidden states only those of real tokens count.
        dtype: that the backbone computes in.
    """
    if ours.dim() == 3:
        theirs = theirs[:, theirs.shape[1] - ours.shape[1] :]
        mask = batch.get("attention_mask")
        if mask is not None and mask.shape == ours.shape[:2]:
            ours, theirs = ours[mask.bool()], theirs[mask.bool()]
    largest = (ours.float() - theirs.to(ours.device).float()).abs().max().item()
    if math.isnan(largest):
        return math.inf
    scale = max(1.0, ours.float().abs().max().item())
    return largest / scale / TOLERANCE.get(dtype, 1e-5)


@contextmanager
def in_float32(*modules: nn.Module) -> Iterator[None]:
    """Parameters and buffers of 16 bits as float32 for the time inside; then as they were."""
    former = {
        tensor: tensor.data
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
        if tensor.is_floating_point() and tensor.itemsize < 4
    }
    for tensor, data in former.items():
        tensor.data = data.float()
    try:
        yield
    finally:
        for tensor, data in former.items():
            tensor.data = data


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps progress bars and load reports of transformers off the terminal."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    """Without dropout for the time inside."""
    former = [module.training for module in modules]
    for module in modules:
        module.train(False)
    try:
        yield
    finally:
        for module, mode in zip(modules, former, strict=True):
            module.train(mode)
