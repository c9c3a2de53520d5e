"""Attention with more keys and values: registered functions and the port that feeds them.

The port computes prefixes and branches from what the attention module reads and hands them down as
a keyword; the function puts prefixes in front of keys and values, and adds to the outcome what the
queries find in each branch. Nothing is kept between calls, and a cache sees none of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from peftnas.methods.base import CoreBranch, PrefixKeyValues
from peftnas.methods.call import Call, compute
from peftnas.methods.lanes import ByRows
from peftnas.methods.linear_port import own_part
from peftnas.methods.sites import LinearSite

KEYWORD = "peftnas_extra"
PREFIX_NAMES = {"sdpa": "peftnas_sdpa", "eager": "peftnas_eager"}


Pair = tuple[Tensor, Tensor]


@dataclass
class Extra:
    """What one call of an attention takes from outside.

    Attributes:
        prefix: keys, values (B, g, l, c) in front of the real ones; ``None``: there are none.
        branches: keys, values (l, g*c) attended to apart, and the factor of each head.
    """

    prefix: Pair | None
    branches: list[tuple[Tensor, Tensor, Tensor]]


class CorePort:
    """All prefixes and branches of one attention.

    Args:
        layer: its layer.
        call: state of the stack that its keys come from.
        key: its key projection and the module that computes it.
        value: its value projection, likewise.
    """

    def __init__(
        self,
        layer: int,
        call: Call,
        key: tuple[LinearSite, nn.Module],
        value: tuple[LinearSite, nn.Module],
    ) -> None:
        self.layer = layer
        self.call = call
        self.key = key
        self.value = value
        self.prefixes: list[PrefixKeyValues] = []
        self.branches: list[CoreBranch] = []

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
        extra = Extra(self._prefix(hidden), [self._branch(one, hidden) for one in self.branches])
        return args, kwargs | {KEYWORD: extra}

    def _prefix(self, hidden: Tensor) -> Pair | None:
        both = [
            compute(prefix, hidden, self.layer, hidden, self.call.tokens)
            for prefix in self.prefixes
        ]
        if not both:
            return None
        keys = torch.cat([keys for keys, _ in both], dim=2)
        return keys, torch.cat([values for _, values in both], dim=2)

    def _branch(self, branch: CoreBranch, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        prompts, factor = compute(branch, hidden)
        projected = [
            nn.functional.linear(prompts, *own_part(site, module))
            for site, module in (self.key, self.value)
        ]
        return projected[0], projected[1], factor


def use_prefix_attention(base: PreTrainedModel) -> dict[str, str]:
    """Switch a model to the functions that take prefixes.

    Returns:
        The names of the former ones by part of the config ("" is the whole), for
        ``set_attn_implementation``.
    Raises:
        ValueError: if a part runs with neither sdpa nor eager attention.
    """
    parts = {"": base.config} | {
        name: part
        for name in base.config.sub_configs
        if (part := getattr(base.config, name)) is not None
    }
    former = {name: part._attn_implementation for name, part in parts.items()}
    for name in former.values():
        if name not in PREFIX_NAMES and name not in PREFIX_NAMES.values():
            raise ValueError(
                f"a prefix needs attention by {' or '.join(PREFIX_NAMES)}, got {name!r}; "
                "load the backbone with attn_implementation='sdpa'"
            )
    base.set_attn_implementation(
        {part: PREFIX_NAMES.get(name, name) for part, name in former.items()}
    )
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
    extra = kwargs.pop(KEYWORD, None)
    if isinstance(extra, ByRows):
        return _by_rows(prefix_sdpa, module, query, key, value, attention_mask, extra, kwargs)
    branches = _branches(query, key, extra, kwargs)
    if extra is not None and extra.prefix is not None:
        key, value, attention_mask = _prepend(
            module, query, key, value, attention_mask, extra.prefix, kwargs
        )
    output, weights = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    return output if branches is None else output + branches, weights


def prefix_eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The family's own eager attention over a prefix; returned weights are of real tokens."""
    extra = kwargs.pop(KEYWORD, None)
    if isinstance(extra, ByRows):
        return _by_rows(prefix_eager, module, query, key, value, attention_mask, extra, kwargs)
    branches, length = _branches(query, key, extra, kwargs), 0
    if extra is not None and extra.prefix is not None:
        length = extra.prefix[0].shape[2]
        key, value, attention_mask = _prepend(
            module, query, key, value, attention_mask, extra.prefix, kwargs
        )
    family_module = sys.modules[type(module).__module__]
    output, weights = family_module.eager_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    output = output if branches is None else output + branches
    return output, weights if weights is None else weights[..., length:]


def _by_rows(
    function: Callable[..., tuple[Tensor, Tensor | None]],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    extra: ByRows,
    kwargs: dict[str, Any],
) -> tuple[Tensor, Tensor | None]:
    """Attention of the rows of each lane apart, since what they take differs in length."""
    taken = {row for lane, _ in extra.parts for row in lane.numbers}
    rest = [row for row in range(len(query)) if row not in taken]
    groups = [(lane.numbers, one) for lane, one in extra.parts] + [(rest, None)]
    outputs: list[Tensor] = []
    weights: list[Tensor | None] = []
    for numbers, one in groups:
        if not numbers:
            continue
        index = torch.tensor(numbers, device=query.device)

        def take(whole: Any, index: Tensor = index) -> Any:
            has_rows = isinstance(whole, Tensor) and whole.shape[:1] == query.shape[:1]
            return whole.index_select(0, index) if has_rows else whole

        inner = {name: take(given) for name, given in kwargs.items()} | {KEYWORD: one}
        found = function(module, take(query), take(key), take(value), take(mask), **inner)
        outputs.append(found[0])
        weights.append(found[1])
    order = torch.tensor([row for numbers, _ in groups for row in numbers], device=query.device)
    back = order.argsort()
    output = torch.cat(outputs).index_select(0, back)
    seen = [part for part in weights if part is not None]
    return output, torch.cat(seen).index_select(0, back) if seen else None


def _branches(
    query: Tensor, key: Tensor, extra: Extra | None, kwargs: dict[str, Any]
) -> Tensor | None:
    """What queries (B, h, T, c) find in all branches, (B, T, h, c); ``None``: there are none."""
    found: Tensor | None = None
    for keys, values, factor in [] if extra is None else extra.branches:
        heads, width = key.shape[1], key.shape[3]
        groups = query.shape[1] // heads
        shaped = [
            part.view(-1, heads, width).transpose(0, 1).repeat_interleave(groups, 0)
            for part in (keys, values)
        ]
        all_keys, all_values = (part.expand(len(query), -1, -1, -1) for part in shaped)
        mixed = nn.functional.scaled_dot_product_attention(
            query, all_keys, all_values, scale=kwargs.get("scaling")
        )
        one = mixed.transpose(1, 2) * factor[:, None]
        found = one if found is None else found + one
    return found


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
        # made of the query: fake where that is fake
        mask = query.new_ones((1, 1, steps, steps), dtype=torch.bool).tril()
        if PREFIX_NAMES["eager"] == module.config._attn_implementation:  # type: ignore[union-attr]
            lowest = torch.finfo(query.dtype).min
            mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, lowest)
    keys, values = (part.to(key.dtype) for part in prefix)
    if (bias := kwargs.get("position_bias")) is not None:
        # of relative positions, which a prefix has none of
        bias = bias[..., -key.shape[2] :]
        kwargs["position_bias"] = nn.functional.pad(bias, (keys.shape[2], 0))
    if mask is not None:
        visible = mask.new_ones if mask.dtype == torch.bool else mask.new_zeros
        mask = torch.cat([visible((*mask.shape[:-1], keys.shape[2])), mask], dim=-1)
    return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2), mask


AttentionInterface.register(PREFIX_NAMES["sdpa"], prefix_sdpa)
AttentionInterface.register(PREFIX_NAMES["eager"], prefix_eager)
# without a mask function of the same name padding would silently be ignored
AttentionMaskInterface.register(PREFIX_NAMES["sdpa"], sdpa_mask)
AttentionMaskInterface.register(PREFIX_NAMES["eager"], eager_mask)
