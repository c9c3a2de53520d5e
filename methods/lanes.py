"""Lanes: the rows of a batch that belong to one of several architectures on one backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class Lanes:
    """The assignment of rows to all architectures.

    Attributes:
        all: one lane an architecture.
        batch: rows B of the batches that are assigned; ``None``: nothing is.
    """

    def __init__(self, count: int) -> None:
        self.all = [Lane(self) for _ in range(count)]
        self.batch: int | None = None

    def assign(self, numbers: Sequence[int]) -> None:
        """Row i belongs to lane ``numbers[i]``."""
        if self.batch is not None:
            raise ValueError("rows are assigned already; leave the outer assignment first")
        self.batch = len(numbers)
        for number, lane in enumerate(self.all):
            lane.numbers = [row for row, owner in enumerate(numbers) if owner == number]

    def clear(self) -> None:
        """Nothing is assigned."""
        self.batch = None
        for lane in self.all:
            lane.numbers = []

    def check(self, batch: int | None) -> None:
        """Raise ``RuntimeError`` unless batches of this size are assigned."""
        if self.batch is None or batch != self.batch:
            raise RuntimeError(
                f"each row of a batch must be assigned to an architecture, got a batch of {batch} "
                f"and {self.batch or 'no'} assigned rows; call the model inside rows([...])"
            )


class Lane:
    """The rows of one architecture: ``numbers``, ascending."""

    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.numbers: list[int] = []

    def take(self, whole: Tensor) -> Tensor:
        """Its rows of a tensor; of one that has all tokens in one row after another, likewise."""
        index = self._index(whole)
        batch = self.lanes.batch
        if whole.shape[0] == batch:
            return whole.index_select(0, index)
        return whole.view(batch or 1, -1, whole.shape[-1]).index_select(0, index).flatten(0, 1)

    def put(self, whole: Tensor, part: Tensor) -> Tensor:
        """The tensor with its rows replaced."""
        index, batch = self._index(whole), self.lanes.batch
        if whole.shape[0] == batch:
            return whole.to(part.dtype).index_copy(0, index, part)
        shaped = whole.view(batch or 1, -1, whole.shape[-1])
        parts = part.view(len(self.numbers), -1, whole.shape[-1])
        return shaped.index_copy(0, index, parts).view(whole.shape)

    def has_rows(self, value: Any) -> bool:
        """Whether a value is a tensor of the batch, or of its tokens one after another."""
        batch = self.lanes.batch
        if not isinstance(value, Tensor) or value.dim() < 2 or not batch:
            return False
        return value.shape[0] == batch or (value.dim() == 2 and value.shape[0] % batch == 0)

    def _index(self, like: Tensor) -> Tensor:
        return torch.tensor(self.numbers, device=like.device)


class LaneHook:
    """A hook that sees, and changes, the rows of one lane alone.

    Args:
        lane: whose rows.
        hook: a forward (pre-)hook for a model that has no other rows.
        kwargs: whether it is given the keyword arguments too.
    """

    def __init__(self, lane: Lane, hook: Callable[..., Any], kwargs: bool) -> None:
        self.lane = lane
        self.hook = hook
        self.kwargs = kwargs

    def __call__(self, module: Any, *given: Any) -> Any:
        if not self.lane.numbers:
            return None
        seen = False

        def take(value: Any) -> Any:
            nonlocal seen
            if isinstance(value, tuple):
                return tuple(map(take, value))
            if isinstance(value, dict):
                return {name: take(inner) for name, inner in value.items()}
            if not self.lane.has_rows(value):
                return value
            seen = True
            return self.lane.take(value)

        taken = [take(value) for value in given]
        if not seen:
            raise RuntimeError(
                f"{type(module).__name__} reads something that has no rows of the batch, so "
                "architectures cannot share it; attach them one at a time"
            )
        changed = self.hook(module, *taken)
        if changed is None:
            return None
        # pre-hooks give arguments (and keywords), hooks the output, which comes last
        if self.kwargs:
            return tuple(self._put(*trio) for trio in zip(given, taken, changed, strict=True))
        return self._put(given[-1], taken[-1], changed)

    def _put(self, whole: Any, before: Any, after: Any) -> Any:
        """``whole`` with what has changed from ``before`` to ``after`` in the lane's rows."""
        if after is before:
            return whole
        if isinstance(after, tuple):
            return tuple(self._put(*trio) for trio in zip(whole, before, after, strict=True))
        if isinstance(after, dict):
            return {
                name: self._put(whole[name], before[name], value)
                if name in before
                else ByRows.first(self.lane, value)
                for name, value in after.items()
            }
        if isinstance(after, Tensor):
            return self.lane.put(whole, after)
        return whole.joined(self.lane, after)


class ByRows:
    """What lanes hand down to an attention, which differs from lane to lane in its shapes."""

    def __init__(self, parts: list[tuple[Lane, Any]]) -> None:
        self.parts = parts

    @classmethod
    def first(cls, lane: Lane, value: Any) -> ByRows:
        """That of the first lane."""
        return cls([(lane, value)])

    def joined(self, lane: Lane, value: Any) -> ByRows:
        """With that of one more."""
        return ByRows([*self.parts, (lane, value)])
