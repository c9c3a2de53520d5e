"""Caches of a generation: how much they hold, and what causal gates remember of their tokens.

A cache of transformers may be copied, cut back, reordered by a beam search or kept beside others;
whatever stands for its tokens has to follow each of these, so it is kept in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import LongTensor, Tensor
from transformers.cache_utils import Cache, CacheLayerMixin, StaticLayer, StaticSlidingWindowLayer

NAMES = ("past_key_values", "cache_params")


class Remembering(Cache):
    """A cache that keeps running sums of gates beside keys and values.

    Attributes:
        sums: by the number of a gate (B, P, n) float32, at each of P positions or more.
    """

    sums: dict[int, Tensor]

    def reorder_cache(self, beam_idx: LongTensor) -> None:
        super().reorder_cache(beam_idx)
        self._each(lambda held: held.index_select(0, beam_idx.to(held.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        super().batch_repeat_interleave(repeats)
        self._each(lambda held: held.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self._each(lambda held: held.index_select(0, indices.to(held.device)))

    def reset(self) -> None:
        super().reset()  # type: ignore[no-untyped-call]
        self.sums = {}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Its class is made at run time, so a copy is made from the class that it extends."""
        return _empty, (type(self).__bases__[1],), self.__dict__

    def _each(self, change: Callable[[Tensor], Tensor]) -> None:
        self.sums = {number: change(held) for number, held in self.sums.items()}


def remember(cache: Cache) -> Remembering:
    """The same cache, which remembers from now on."""
    if not isinstance(cache, Remembering):
        cache.__class__ = _remembering(type(cache))
        cast(Remembering, cache).sums = {}
    return cast(Remembering, cache)


def sums_in(cache: Cache | None) -> dict[int, Tensor]:
    """What a cache remembers, by the number of a gate."""
    return cache.sums if isinstance(cache, Remembering) else {}


def cache_among(named: dict[str, Any]) -> Cache | None:
    """The cache in the arguments of a stack."""
    return next((named[name] for name in NAMES if isinstance(named.get(name), Cache)), None)


def cache_of(output: Any) -> Cache | None:
    """The cache in what a stack gives."""
    inner = output if isinstance(output, tuple) else [getattr(output, n, None) for n in NAMES]
    return next((one for one in inner if isinstance(one, Cache)), None)


def tokens_in(cache: Cache | None) -> int:
    """Tokens that a cache holds.

    Where it keeps a state and no tokens (mamba), those that gates have read, or 1 for any number.
    """
    if cache is None:
        return 0
    layers = getattr(cache, "layers", None)
    if layers and not any(isinstance(layer, CacheLayerMixin) for layer in layers):
        read = [held.shape[1] for held in sums_in(cache).values()]
        return max([1, *read]) if cache.has_previous_state() else 0
    return int(cache.get_seq_length())


def room_in(cache: Cache | None) -> int | None:
    """Tokens that a cache of fixed size takes in all; ``None``: any number."""
    cache = getattr(cache, "self_attention_cache", cache)
    if cache is None or not getattr(cache, "layers", None) or all(cache.is_sliding):
        return None
    longest = int(cache.get_max_length())
    return longest if longest > 0 else None


def slides_whole(cache: Cache | None) -> bool:
    """Whether a cache of fixed size has a sliding window in every layer."""
    cache = getattr(cache, "self_attention_cache", cache)
    layers = getattr(cache, "layers", None) or ()
    return bool(layers) and all(isinstance(one, StaticSlidingWindowLayer) for one in layers)


def make_room(cache: Cache | None, tokens: int, window: int | None) -> None:
    """Let a cache of fixed size that has no memory yet take in more tokens.

    Args:
        cache: any, or none; of fixed size is one of a generation with ``"static"``, which is made
            for the text alone.
        tokens: how many more.
        window: the sliding window of layers that have one, which bounds what they keep.
    """
    cache = getattr(cache, "self_attention_cache", cache)
    for layer in getattr(cache, "layers", None) or ():
        if isinstance(layer, StaticLayer) and not layer.is_initialized:
            longer = layer.max_cache_len + tokens
            layer.max_cache_len = min(longer, window) if layer.is_sliding and window else longer


_KINDS: dict[type[Cache], type[Remembering]] = {}


def _remembering(kind: type[Cache]) -> type[Remembering]:
    """The class of a cache, extended; the same each time."""
    if kind not in _KINDS:
        _KINDS[kind] = type(f"Remembering{kind.__name__}", (Remembering, kind), {})
    return _KINDS[kind]


def _empty(kind: type[Cache]) -> Remembering:
    extended = _remembering(kind)
    return extended.__new__(extended)
