"""Batches: texts become tokens once; batches of similar length are cut from them by seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.search.errors import UsageError
from peftnas.search.seeds import child_seed
from peftnas.search.task_protocol import Labels, Split

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

POOL = 50  # batches that are sorted by length together
# of one evaluation batch, padding included: on a CPU larger ones fall out of its caches
EVALUATION_TOKENS = {"cpu": 1024, "cuda": 16384}


@dataclass(frozen=True)
class Batch:
    """Examples of one step, padded on the right to the longest of them.

    Attributes:
        input_ids: (B, T) int64.
        attention_mask: (B, T) int64, 1 at real tokens.
        token_type_ids: (B, T) int64, 1 in the second text; ``None`` where none are wanted.
        labels: (B,) int64 or float32.
    """

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor | None
    labels: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """What the backbone is called with."""
        named = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        if self.token_type_ids is not None:
            named["token_type_ids"] = self.token_type_ids
        return named


@dataclass(frozen=True)
class Tokens:
    """The tokens of a split, example after example.

    Attributes:
        ids: (total,) int32, all examples in a row.
        types: (total,) int8, 1 in the second text; ``None`` where the backbone wants none.
        starts: (n + 1,) int64; example i is ``ids[starts[i]:starts[i + 1]]``.
        labels: (n,), as in the split.
        pad: token that fills short rows.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8] | None
    starts: npt.NDArray[np.int64]
    labels: Labels
    pad: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each example, (n,)."""
        return np.diff(self.starts)

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> Batch:
        """The examples with these numbers, in this order."""
        real, flat = ragged(self.starts, rows)
        ids = np.full(real.shape, self.pad, dtype=np.int64)
        ids[real] = self.ids[flat]
        types = None
        if self.types is not None:
            types = np.zeros(real.shape, dtype=np.int64)
            types[real] = self.types[flat]
        return Batch(
            torch.from_numpy(ids).to(device),
            torch.from_numpy(real.astype(np.int64)).to(device),
            None if types is None else torch.from_numpy(types).to(device),
            torch.from_numpy(self.labels[rows]).to(device),
        )


def ragged(
    starts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """How examples that lie in a row come side by side, padded on the right.

    Args:
        starts: (n + 1,); example i is at ``starts[i]:starts[i + 1]``.
        rows: (B,) numbers of examples.
    Returns:
        Which places of the (B, T) table are real, and what of the row stands there.
    """
    lengths = np.diff(starts)[rows]
    real = np.arange(lengths.max()) < lengths[:, None]
    flat = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows.tolist()])
    return real, flat


def tokenise(
    split: Split,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    pad: int,
    types: bool = False,
) -> Tokens:
    """The tokens of a split.

    Args:
        split: texts, or pairs of texts.
        tokenizer: of the backbone; its special tokens are added.
        max_length: longer examples are cut; of a pair, the longer text first.
        pad: token that fills short rows.
        types: whether the backbone wants to know the second text from the first.
    Raises:
        UsageError: if an example has no token at all.
    """
    pairs = () if split.pairs is None else (split.pairs,)
    encoded = tokenizer(
        split.texts,
        *pairs,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=types,
    )
    ids = encoded["input_ids"]
    for number, row in enumerate(ids):
        if not row:
            raise UsageError(
                f"an example needs at least one token, got none for text number {number}: "
                f"{split.texts[number]!r}; drop empty texts"
            )
    return tokens_from(ids, encoded["token_type_ids"] if types else None, split.labels, pad)


def tokens_from(
    ids: Sequence[Sequence[int]],
    types: Sequence[Sequence[int]] | None,
    labels: Labels,
    pad: int,
) -> Tokens:
    """The tokens of examples that are lists of numbers.

    Args:
        ids: of each example.
        types: 1 in the second text; ``None`` where the backbone wants none.
        labels: (n,).
        pad: token that fills short rows.
    """
    return Tokens(
        np.concatenate([np.asarray(row, dtype=np.int32) for row in ids]),
        None
        if types is None
        else np.concatenate([np.asarray(row, dtype=np.int8) for row in types]),
        np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64),
        labels,
        pad,
    )


def training_order(
    lengths: npt.NDArray[np.int64], batch_size: int, seed: int, start: int = 0
) -> Iterator[npt.NDArray[np.int64]]:
    """Batches of row numbers without end, epoch after epoch, the same for the same seed.

    An epoch visits the examples in a random order. Within every :data:`POOL` batches they are
    sorted by length before they are cut into batches, and the batches are shuffled. All batches
    are full: what is left of an epoch, fewer than ``batch_size`` random examples, is skipped.

    Args:
        lengths: tokens of each example, (n,), n >= 1.
        batch_size: rows of a batch; n when there are fewer.
        seed: of the trial.
        start: so many batches are left out at the start, in less time than it takes to cut them.
    """
    generator = np.random.default_rng(child_seed(seed, "order"))
    size = min(batch_size, len(lengths))
    while True:
        order = generator.permutation(len(lengths))
        order = order[: len(order) // size * size]
        for first in range(0, len(order), POOL * size):
            pool = order[first : first + POOL * size]
            batches = len(pool) // size
            if start >= batches:
                generator.permutation(batches)  # draws what shuffling that many batches draws
                start -= batches
                continue
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            yield from generator.permutation(pool.reshape(-1, size))[start:]
            start = 0


def evaluation_order(lengths: npt.NDArray[np.int64], largest: int) -> list[npt.NDArray[np.int64]]:
    """Batches of row numbers, shortest first, each row once.

    Args:
        lengths: tokens of each example, (n,).
        largest: tokens of a batch at most, padding included; a longer example stands alone.
    """
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    for end in range(1, len(order) + 1):
        rows = end - start + 1  # with the next one
        if end == len(order) or rows * lengths[order[end]] > largest:
            batches.append(order[start:end])
            start = end
    return batches
