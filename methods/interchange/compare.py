"""The check of everything written in another form: the same last hidden states as ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.utils import logging

from peftnas.methods.attach import AttachedModules

TOLERANCE = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""The largest difference, in units of the largest value there is (at least of 1).

In 16 bits peft computes its modules in 32 bits, where ours compute in 16.
"""
ROUNDING = 10.0
"""How much more merging may change: every merged weight is rounded once more."""

Inputs = Mapping[str, Tensor]


def sample(attached: AttachedModules) -> Inputs:
    """Three rows of 7, 5 and 3 random tokens, padded on the right.

    Raises:
        ValueError: if the backbone reads other things than words.
    """
    base = attached.base
    if base.main_input_name != "input_ids":
        raise ValueError(
            f"a {base.config.model_type} backbone reads {base.main_input_name}, which cannot be "
            "made up; give a batch for the comparison: batch=..."
        )
    generator = torch.Generator().manual_seed(0)
    words = base.get_input_embeddings().get_parameter("weight").shape[0]
    ids = torch.randint(words, (3, 7), generator=generator)
    mask = torch.arange(7) < torch.tensor([[7], [5], [3]])
    pad = getattr(base.config, "pad_token_id", None)
    batch = {"input_ids": ids.masked_fill(~mask, pad or 0), "attention_mask": mask.long()}
    if len(attached.anatomy.stacks) > 1:
        batch["decoder_input_ids"] = ids.flip(1)[:, :5]
    return {name: tensor.to(base.device) for name, tensor in batch.items()}


def hidden_of(attached: AttachedModules, batch: Inputs) -> Tensor:
    """Our last hidden states (B, T, d), without positions of a prompt or dropout."""
    with torch.no_grad(), _evaluating(attached.base, attached):
        return attached.real(attached.base(**batch).last_hidden_state)


def answer_of(model: nn.Module, batch: Inputs) -> Tensor:
    """Logits (B, n) of a classifier, else last hidden states (B, l + T, d), without dropout."""
    with torch.no_grad(), _evaluating(model):
        answer = model(**batch)
    found: Tensor = answer.logits if hasattr(answer, "logits") else answer.last_hidden_state
    return found


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
