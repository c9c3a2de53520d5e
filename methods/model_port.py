"""The port at the base model: prompts enter here, and the mask of real tokens is taken here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import PromptVectors
from peftnas.methods.ports import Call, compute


class ModelPort:
    """Rewrites the arguments of each call of the base model.

    Args:
        base: the base model.
        anatomy: its anatomy.
        prompts: prompts that enter together; they share entry and position.
        prefixed: whether prefixes are attached, whose distance to the tokens is that of positions.
        call: state of the running pass; its ``tokens`` is set here.
    Raises:
        ValueError: if the prompts differ in entry or position.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        anatomy: Anatomy,
        prompts: Sequence[PromptVectors],
        prefixed: bool,
        call: Call,
    ) -> None:
        ways = {(prompt.entry, prompt.position) for prompt in prompts}
        if len(ways) > 1:
            raise ValueError(
                f"prompts of one architecture must share entry and position, got {sorted(ways)}; "
                "keep one of them"
            )
        self.prompts = list(prompts)
        self.call = call
        entry, position = ways.pop() if ways else ("word_embeddings", "before")
        # with rotary positions nothing but the embedding is added, so both entries are one
        self.bare = entry == "hidden" and anatomy.learned_positions
        self.start = 0 if position == "before" else 1
        self.length = sum(len(prompt()) for prompt in prompts)
        self.names = list(inspect.signature(type(base).forward).parameters)[1:]
        self.words = base.get_submodule(anatomy.word_embeddings)
        self.longest = None if self.bare else longest_sequence(base, anatomy)
        self.counts_positions = not anatomy.learned_positions and (prefixed or bool(prompts))
        self.needs_right_padding = bool(prompts) and (
            self.start > 0
            or getattr(base.config, "sliding_window", None) is not None
            or counts_from_padding(base, anatomy)
        )
        self._entering = False

    def change_arguments(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook at the base model."""
        named = dict(zip(self.names, args, strict=False)) | kwargs
        if self.counts_positions:
            _count_positions(named)
        if self.prompts:
            self._add_prompts(named)
        mask, words = named.get("attention_mask"), _first_given(named)
        self.call.tokens = None
        if isinstance(mask, Tensor) and mask.dim() == 2 and words is not None:
            steps = words.shape[1] + (self.length if self._entering and self.bare else 0)
            self.call.tokens = mask[:, -steps:].bool()
        return (), named

    def enter_bare(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook at the embedding layer, for prompts that enter after it."""
        return self._insert(out) if self._entering else out

    def real(self, hidden: Tensor) -> Tensor:
        """``hidden`` (B, l + T, ...) without the positions of the prompts."""
        after = self.start + self.length
        return torch.cat([hidden[:, : self.start], hidden[:, after:]], dim=1)

    def _add_prompts(self, named: dict[str, Any]) -> None:
        mask = named.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() != 2:
            raise ValueError(
                f"a prompt needs an attention_mask of shape (batch, tokens), got {mask.shape}"
            )
        if self.needs_right_padding and mask is not None and not bool(mask[:, 0].all()):
            raise ValueError(
                "this prompt needs texts that are padded on the right, got padding on the left; "
                "set padding_side='right', or take position='before' on a backbone with rotary "
                "positions and no sliding window"
            )
        cache = named.get("past_key_values")
        self._entering = cache is None or int(cache.get_seq_length()) == 0
        if mask is not None:
            named["attention_mask"] = self._widen(mask, torch.ones)
        if not self._entering:
            # the cache already holds the prompts
            if named.get("position_ids") is not None:
                named["position_ids"] = named["position_ids"] + self.length
            return
        if self.bare:
            return
        ids, words = named.pop("input_ids", None), named.get("inputs_embeds")
        named["inputs_embeds"] = wide = self._insert(self.words(ids) if words is None else words)
        if self.longest is not None and wide.shape[1] > self.longest:
            raise ValueError(
                f"a prompt of {self.length} with {wide.shape[1] - self.length} tokens exceeds "
                f"the backbone's {self.longest} positions; shorten the prompt or the texts"
            )
        if named.get("token_type_ids") is not None:
            named["token_type_ids"] = self._widen(named["token_type_ids"], torch.zeros)
        if named.get("position_ids") is not None:
            named["position_ids"] = self._positions(named["position_ids"])

    def _insert(self, hidden: Tensor) -> Tensor:
        vectors = torch.cat([compute(prompt, hidden) for prompt in self.prompts])
        vectors = vectors.to(hidden.dtype).expand(hidden.shape[0], -1, -1)
        return torch.cat([hidden[:, : self.start], vectors, hidden[:, self.start :]], dim=1)

    def _widen(self, row: Tensor, fill: Callable[..., Tensor]) -> Tensor:
        new = fill(row.shape[0], self.length, dtype=row.dtype, device=row.device)
        return torch.cat([row[:, : self.start], new, row[:, self.start :]], dim=1)

    def _positions(self, ids: Tensor) -> Tensor:
        new = ids[:, :1] + self.start + torch.arange(self.length, device=ids.device)
        return torch.cat([ids[:, : self.start], new, ids[:, self.start :] + self.length], dim=1)


def position_table(base: nn.Module, anatomy: Anatomy) -> nn.Embedding | None:
    """The table of positions in the embedding layer; ``None``: there is no such table."""
    if anatomy.learned_positions:
        for name, table in base.get_submodule(anatomy.embeddings).named_children():
            if name == "position_embeddings" and isinstance(table, nn.Embedding):
                return table
    return None


def counts_from_padding(base: nn.Module, anatomy: Anatomy) -> bool:
    """Whether positions are counted from the first real token on (roberta)."""
    table = position_table(base, anatomy)
    return table is not None and table.padding_idx is not None


def longest_sequence(base: nn.Module, anatomy: Anatomy) -> int | None:
    """Tokens that a backbone with a table of positions takes; ``None``: there is no such table."""
    table = position_table(base, anatomy)
    if table is None:
        return None
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def _first_given(named: dict[str, Any]) -> Tensor | None:
    ids: Tensor | None = named.get("input_ids")
    return ids if ids is not None else named.get("inputs_embeds")


def _count_positions(named: dict[str, Any]) -> None:
    """Positions from the first real token on, where padding stands in front of it.

    Rotary backbones number padding too, as only distances matter to them; but the distance to a
    prefix or a prompt would grow by it.
    """
    mask, words = named.get("attention_mask"), _first_given(named)
    given = named.get("position_ids") is not None
    if given or words is None or not isinstance(mask, Tensor) or mask.dim() != 2:
        return
    if not bool(mask[:, 0].all()):
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        named["position_ids"] = positions[:, -words.shape[1] :]
