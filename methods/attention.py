"""Attention over a prefix: registered attention functions and the port that feeds them.

The port computes the prefix from what the attention module reads and hands it down as a keyword;
the function puts it in front of keys and values. Nothing is kept between calls, and a cache never
sees the prefix.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from peftnas.methods.base import PrefixKeyValues
from peftnas.methods.call import Call, compute

KEYWORD = "peftnas_prefix"
PREFIX_NAMES = {"sdpa": "peftnas_sdpa", "eager": "peftnas_eager"}


class PrefixPort:
    """All prefixes of one layer."""

    def __init__(self, layer: int, call: Call) -> None:
        self.layer = layer
        self.call = call
        self.prefixes: list[PrefixKeyValues] = []

    def hand_down(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook at the attention module."""
        implementation = module.config._attn_implementation  # type: ignore[union-attr]
        if implementation not in PREFIX_NAMES.values():
            raise RuntimeError(
                f"a prefix needs attention by {' or '.join(PREFIX_NAMES.values())}, got "
                f"{implementation!r}; do not change it (nor attach to or detach from a model "
                "with the same config object) while a prefix is attached"
            )
        hidden: Tensor = args[0] if args else kwargs["hidden_states"]
        both = [
            compute(prefix, hidden, self.layer, hidden, self.call.tokens)
            for prefix in self.prefixes
        ]
        keys = torch.cat([keys for keys, _ in both], dim=2)
        values = torch.cat([values for _, values in both], dim=2)
        return args, kwargs | {KEYWORD: (keys, values)}


def use_prefix_attention(base: PreTrainedModel) -> str:
    """Switch a model to the function that takes prefixes; returns the name of the former one.

    Raises:
        ValueError: if it runs with neither sdpa nor eager attention.
    """
    former: str = base.config._attn_implementation
    if former in PREFIX_NAMES.values():
        return former
    if former not in PREFIX_NAMES:
        raise ValueError(
            f"a prefix needs attention by {' or '.join(PREFIX_NAMES)}, got {former!r}; "
            "load the backbone with attn_implementation='sdpa'"
        )
    base.set_attn_implementation(PREFIX_NAMES[former])
    return former


def prefix_sdpa(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """``sdpa`` over a prefix; the same as ``sdpa`` when none is handed down."""
    prefix = kwargs.pop(KEYWORD, None)
    if prefix is not None:
        key, value, attention_mask = _prepend(
            module, query, key, value, attention_mask, prefix, kwargs
        )
    return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)


def prefix_eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The family's own eager attention over a prefix; returned weights are of real tokens."""
    prefix = kwargs.pop(KEYWORD, None)
    length = 0
    if prefix is not None:
        length = prefix[0].shape[2]
        key, value, attention_mask = _prepend(
            module, query, key, value, attention_mask, prefix, kwargs
        )
    family_module = sys.modules[type(module).__module__]
    output, weights = family_module.eager_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    return output, weights if weights is None else weights[..., length:]


def _prepend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    prefix: tuple[Tensor, Tensor],
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values (B, g, l + S, c), and the mask (.., T, l + S) that lets all see the prefix."""
    steps = query.shape[2]
    is_causal = kwargs.get("is_causal")
    if is_causal is None:
        is_causal = getattr(module, "is_causal", False)
    if mask is None and is_causal and steps > 1:
        # no mask stands for the causal one, over as many keys as queries: a static cache has
        # room for more, which nobody may see yet
        key, value = key[:, :, :steps], value[:, :, :steps]
        mask = torch.ones(1, 1, steps, steps, dtype=torch.bool, device=query.device).tril()
        if PREFIX_NAMES["eager"] == module.config._attn_implementation:  # type: ignore[union-attr]
            lowest = torch.finfo(query.dtype).min
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, lowest)
    keys, values = (part.to(key.dtype) for part in prefix)
    if (bias := kwargs.get("position_bias")) is not None:
        # of relative positions, which a prefix has none of
        bias = bias[..., -key.shape[2] :]
        kwargs["position_bias"] = nn.functional.pad(bias, (keys.shape[2], 0))
    if mask is not None:
        visible = torch.ones if mask.dtype == torch.bool else torch.zeros
        shape = (*mask.shape[:-1], keys.shape[2])
        mask = torch.cat([visible(shape, dtype=mask.dtype, device=mask.device), mask], dim=-1)
    return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2), mask


AttentionInterface.register(PREFIX_NAMES["sdpa"], prefix_sdpa)
AttentionInterface.register(PREFIX_NAMES["eager"], prefix_eager)
# without a mask function of the same name padding would silently be ignored
AttentionMaskInterface.register(PREFIX_NAMES["sdpa"], sdpa_mask)
AttentionMaskInterface.register(PREFIX_NAMES["eager"], eager_mask)
