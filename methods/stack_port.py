"""The port at the entry of a stack: prompts enter here, the mask of real tokens is taken here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import LayerPrompts, PromptVectors
from peftnas.methods.caches import (
    cache_among,
    cache_of,
    make_room,
    remember,
    room_in,
    slides_whole,
    sums_in,
    tokens_in,
)
from peftnas.methods.call import Call, compute
from peftnas.methods.generation_masks import text_mask
from peftnas.methods.prompt_layers import PromptLayers
from peftnas.methods.sites import StackSite


class StackPort:
    """Rewrites the arguments of each call of one stack.

    Args:
        entry: the module whose call starts the stack.
        base: the base model.
        anatomy: its anatomy.
        stack: the stack.
        prompts: prompts that enter together; they share entry and position.
        prefixed: whether there are keys without a position (prefixes, LLaMA-Adapter), which
            stand at the distance of a token's own position.
        call: state of the running pass; its ``tokens`` and ``batch`` are set here.
        encoder: the port of the encoder, for a decoder that attends to its tokens.
        anew: prompts of later layers, which replace those before, by layer.
    Raises:
        ValueError: if the prompts differ in entry or position, or the stack takes none such.
    """

    def __init__(
        self,
        entry: nn.Module,
        base: nn.Module,
        anatomy: Anatomy,
        stack: StackSite,
        prompts: Sequence[PromptVectors],
        prefixed: bool,
        call: Call,
        encoder: StackPort | None = None,
        anew: Mapping[int, LayerPrompts] | None = None,
    ) -> None:
        ways = {(prompt.entry, prompt.position) for prompt in prompts}
        if len(ways) > 1:
            raise ValueError(
                f"prompts of one architecture must share entry and position, got {sorted(ways)}; "
                "keep one of them"
            )
        self.stack = stack
        self.prompts = list(prompts)
        self.call = call
        self.encoder = encoder
        way, position = ways.pop() if ways else ("word_embeddings", "before")
        self.bare = way == "hidden"
        self.start = 0 if position == "before" else 1
        self.length = sum(len(prompt()) for prompt in prompts)
        self.layers = PromptLayers(stack, self.start, self.length, anew or {}, call)
        self.names = list(inspect.signature(type(entry).forward).parameters)[1:]
        self.words = (
            None if stack.word_embeddings is None else base.get_submodule(stack.word_embeddings)
        )
        self.longest = None if self.bare else longest_sequence(base, stack)
        rotary = anatomy.positions == "rotary"
        self.counts_positions = rotary and (prefixed or bool(prompts))
        self.window = getattr(getattr(base, "config", None), "sliding_window", None)
        self.needs_right_padding = bool(prompts) and (
            self.start > 0
            or self.window is not None
            or counts_from_padding(base, stack)
            or anatomy.positions in ("relative", "none")  # what is between counts as distance
        )
        self.entering = False

    def change_arguments(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook at the entry."""
        named = dict(zip(self.names, args, strict=False)) | kwargs
        if self.counts_positions:
            self._count_positions(named)
        if self.prompts:
            self._add_prompts(named)
        if self.encoder is not None and self.encoder.prompts:
            self._see_prompts_of_encoder(named)
        mask, first = named.get("attention_mask"), self._first_given(named)
        self.call.tokens = None
        self.call.batch = None if first is None else first.shape[0]
        cache = cache_among(named)
        self.call.past, self.call.held = tokens_in(cache), sums_in(cache)
        self.call.sums = {}
        self.call.prompts = slice(self.start, self.start + self.length) if self.entering else None
        if self.stack.tokens and first is not None:
            steps = first.shape[1] + (self.length if self.entering and self.bare else 0)
            self.call.tokens = real_tokens(mask, self.call.past, steps)
        return (), named

    def finish(self, module: nn.Module, args: Any, out: Any) -> None:
        """Forward hook at the entry: the cache keeps what causal gates have read."""
        keep_sums(out, [self.call])

    def enter_bare(self, module: nn.Module, args: Any, out: Tensor) -> Tensor:
        """Forward hook at the embedding layer, for prompts that enter after it."""
        return self._insert(out) if self.entering else out

    def real(self, hidden: Tensor) -> Tensor:
        """``hidden`` (B, l + T, ...) without the positions of the prompts."""
        length = self.layers.length_behind
        if not length:
            return hidden
        if hidden.dim() < 2 or hidden.shape[1] <= length:
            raise ValueError(
                f"real takes hidden states with the {length} positions of prompts in them, "
                f"(batch, {length} + tokens, ...), got {tuple(hidden.shape)}; give what the "
                "backbone itself returned"
            )
        after = self.start + length
        return torch.cat([hidden[:, : self.start], hidden[:, after:]], dim=1)

    def widen(self, row: Tensor, fill: Callable[..., Tensor]) -> Tensor:
        """A row of tokens (B, T) with ``fill`` at the positions of the prompts."""
        new = fill(row.shape[0], self.length, dtype=row.dtype, device=row.device)
        return torch.cat([row[:, : self.start], new, row[:, self.start :]], dim=1)

    def _add_prompts(self, named: dict[str, Any]) -> None:
        first, cache = self._first_given(named), cache_among(named)
        steps = 0 if first is None else first.shape[1]
        past = tokens_in(cache)
        self.entering = past == 0
        if self.entering:
            make_room(cache, self.length, self.window)
        held = 0 if self.entering else self.length
        mask, past_text = named.get("attention_mask"), max(past - held, 0)
        if slides_whole(cache) and not (isinstance(mask, Tensor) and mask.dim() == 2):
            raise ValueError(
                "a prompt needs masks that tell the padding of the whole text, got a static cache "
                "that slides in every layer; take a dynamic cache"
            )
        mask = text_mask(mask, past_text, steps, held)
        if self.needs_right_padding and mask is not None and is_padded_left(mask, False):
            raise ValueError(
                "this prompt needs texts that are padded on the right, got padding on the left; "
                "set padding_side='right', or take position='before' on a backbone with rotary or "
                "learned positions and no sliding window"
            )
        self._check_room(cache, past + steps + self.length - held)
        if "attention_mask" in named:
            named["attention_mask"] = mask if mask is None else self.widen(mask, torch.ones)
        if not self.entering:
            # the cache already holds the prompts
            if named.get("position_ids") is not None:
                named["position_ids"] = named["position_ids"] + self.length
            return
        if not self.bare:
            self._enter_as_words(named)

    def _check_room(self, cache: Cache | None, needed: int) -> None:
        """Raise ``ValueError`` if a cache of fixed size has no room for a prompt too."""
        room = room_in(cache)
        if room is not None and needed > room:
            raise ValueError(
                f"a prompt of {self.length} with {needed - self.length} tokens needs room in the "
                f"cache, got one of {room} tokens; take a dynamic cache, or a larger one"
            )

    def _enter_as_words(self, named: dict[str, Any]) -> None:
        assert self.stack.tokens is not None and self.words is not None
        ids_name, words_name = self.stack.tokens
        ids, words = named.pop(ids_name, None), named.get(words_name)
        named[words_name] = wide = self._insert(self.words(ids) if words is None else words)
        if self.longest is not None and wide.shape[1] > self.longest:
            raise ValueError(
                f"a prompt of {self.length} with {wide.shape[1] - self.length} tokens exceeds "
                f"the backbone's {self.longest} positions; shorten the prompt or the texts"
            )
        if named.get("token_type_ids") is not None:
            named["token_type_ids"] = self.widen(named["token_type_ids"], torch.zeros)
        if named.get("position_ids") is not None:
            named["position_ids"] = self._positions(named["position_ids"])

    def _see_prompts_of_encoder(self, named: dict[str, Any]) -> None:
        """The mask of the encoder's tokens, as the caller gave it, knows nothing of prompts."""
        mask, states = named.get("encoder_attention_mask"), named.get("encoder_hidden_states")
        assert self.encoder is not None
        if mask is None or states is None or mask.shape[1] == states.shape[1]:
            return
        named["encoder_attention_mask"] = self.encoder.widen(mask, torch.ones)

    def _insert(self, hidden: Tensor) -> Tensor:
        vectors = torch.cat([compute(prompt, hidden) for prompt in self.prompts])
        vectors = vectors.to(hidden.dtype).expand(hidden.shape[0], -1, -1)
        return torch.cat([hidden[:, : self.start], vectors, hidden[:, self.start :]], dim=1)

    def _positions(self, ids: Tensor) -> Tensor:
        new = ids[:, :1] + self.start + torch.arange(self.length, device=ids.device)
        return torch.cat([ids[:, : self.start], new, ids[:, self.start :] + self.length], dim=1)

    def _first_given(self, named: dict[str, Any]) -> Tensor | None:
        """The tensor that the stack reads: words, their embeddings, or an image or sound."""
        names = self.stack.tokens or tuple(named)
        return next((named[n] for n in names if isinstance(named.get(n), Tensor)), None)

    def _count_positions(self, named: dict[str, Any]) -> None:
        """Positions from the first real token on, where padding stands in front of it.

        Rotary backbones number padding too, as only distances matter to them; but the distance to
        a prefix or a prompt would grow by it.
        """
        mask, words = named.get("attention_mask"), self._first_given(named)
        given = named.get("position_ids") is not None
        if given or words is None or not isinstance(mask, Tensor) or mask.dim() != 2:
            return
        # of texts padded on the right the same positions come out, but for padding
        if is_padded_left(mask, True):
            positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
            named["position_ids"] = positions[:, -words.shape[1] :]


def is_padded_left(mask: Tensor, compiled: bool) -> bool:
    """Whether a text begins with padding; ``compiled`` while nobody can look at values."""
    return compiled if torch.compiler.is_compiling() else not bool(mask[:, 0].all())


def keep_sums(out: Any, calls: Sequence[Call]) -> None:
    """Put what causal gates have read in a pass into the cache among its outputs, if any."""
    cache = cache_of(out)
    for call in calls:
        if cache is not None and call.sums:
            remember(cache).sums |= call.sums
        call.sums, call.held = {}, {}


def real_tokens(mask: Any, past: int, steps: int) -> Tensor | None:
    """Which of the tokens of this pass are real, (B, steps) bool; ``None``: all are, or no mask.

    Args:
        mask: (B, past + steps), 0 at padding; or (B, h, steps, keys) of what may be attended to,
            bool or added to the logits; or several of these by kind of layer.
        past: tokens before these, in a cache.
        steps: tokens of this pass.
    """
    if isinstance(mask, dict):
        full = mask.get("full_attention")
        mask = full if full is not None else next(iter(mask.values()), None)
    if not isinstance(mask, Tensor):
        return None
    if mask.dim() == 2:
        return mask[:, -steps:].bool()
    if mask.dim() != 4:
        return None
    # a token is real if anyone may attend to it: each real one may to itself
    seen = (mask if mask.dtype == torch.bool else mask >= 0).any(dim=1).any(dim=1)
    start = past if past + steps <= seen.shape[1] else seen.shape[1] - steps
    return seen[:, start : start + steps]


def position_table(base: nn.Module, stack: StackSite) -> nn.Embedding | None:
    """The table of positions of a stack; ``None``: there is none."""
    for path, table in base.get_submodule(stack.entry).named_modules():
        if path.rpartition(".")[2] in _TABLES and isinstance(table, nn.Embedding):
            return table
    return None


# what families call it
_TABLES = ("position_embeddings", "position_embedding", "wpe", "embed_positions")


def counts_from_padding(base: nn.Module, stack: StackSite) -> bool:
    """Whether positions are counted from the first real token on (roberta)."""
    table = position_table(base, stack)
    return table is not None and table.padding_idx is not None


def longest_sequence(base: nn.Module, stack: StackSite) -> int | None:
    """Tokens that a stack with a table of positions takes; ``None``: there is no such table."""
    table = position_table(base, stack)
    if table is None:
        return None
    first = 0 if table.padding_idx is None else table.padding_idx + 1
    return table.num_embeddings - int(getattr(table, "offset", first))
