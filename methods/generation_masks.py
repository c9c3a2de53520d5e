"""The mask of a text, read back off what a generation with a static cache makes of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def text_mask(mask: Any, past: int, steps: int, prompt: int) -> Tensor | None:
    """The mask (B, past + steps) of a text, 0 at padding; ``None``: there is none, all is real.

    For a cache of fixed size ``generate()`` hands down, in place of that, which keys each query
    may attend to: (B, 1, steps, keys), bool or added to the logits, or one for each kind of layer.
    The padding in it stands where it stands in the text, though keys of a prompt come first.

    Args:
        mask: the one of a text, or one of these.
        past: tokens of the text before these, in a cache.
        steps: tokens of this pass.
        prompt: positions of a prompt that the cache holds.
    Raises:
        ValueError: if it is neither.
    """
    whole = mask.get("full_attention", False) if isinstance(mask, dict) else mask
    if whole is None or (isinstance(whole, Tensor) and whole.dim() == 2):
        return whole
    found = _read_back(whole, past, steps, prompt) if isinstance(whole, Tensor) else None
    if found is None:
        got = tuple(mask.shape) if isinstance(mask, Tensor) else "one for each kind of layer"
        raise ValueError(
            f"a prompt needs an attention_mask of shape (batch, tokens), got {got}; give "
            "that, and in a generation take a dynamic cache"
        )
    return found


def _read_back(mask: Tensor, past: int, steps: int, prompt: int) -> Tensor | None:
    """The last query sees every real token of the text; ``None``: the others see others still."""
    length = past + steps
    if mask.dim() != 4 or mask.shape[1:3] != (1, steps) or mask.shape[3] < length:
        return None
    seen = (mask if mask.dtype == torch.bool else mask >= 0)[:, 0, :, :length]
    real = seen[:, -1]
    if not torch.compiler.is_compiling():
        keys = torch.arange(length, device=mask.device)
        queries = keys[past:, None] + prompt
        as_told = (seen == (real[:, None] & (keys <= queries))).all(dim=-1)
        # a query that is padding may see everything, where it would see nothing
        if not bool((as_told | (seen.all(dim=-1) & ~real[:, past:])).all()):
            return None
    return real.long()
