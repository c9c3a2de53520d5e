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
        flattens: whether the backbone hands down tokens of all rows one after another in places.
        batch: rows B of the running pass; ``None``: there is none.
    """

    def __init__(self, count: int, flattens: bool = False) -> None:
        self.all = [Lane(self) for _ in range(count)]
        self.flattens = flattens
        self.batch: int | None = None
        self._assigned: tuple[int, ...] = ()
        self._repeats = 1

    def assign(self, numbers: Sequence[int], repeats: int = 1) -> None:
        """Row i of what comes belongs to lane ``numbers[i]``, as do its copies in a generation."""
        if self._assigned:
            raise ValueError("rows are assigned already; leave the outer assignment first")
        self._assigned, self._repeats = tuple(numbers), repeats

    def clear(self) -> None:
        """Nothing is assigned."""
        self._assigned, self.batch = (), None
        for lane in self.all:
            lane.numbers = []

    def enter(self, batch: int | None) -> None:
        """A pass of one stack begins, with ``batch`` rows.

        Raises:
            RuntimeError: unless batches of this size are assigned.
        """
        numbers, repeats = self._assigned, self._repeats
        if batch == len(numbers) * repeats:
            numbers = tuple(number for number in numbers for _ in range(repeats))
        if not numbers or batch != len(numbers):
            times = f" ({repeats} times each in a generation)" if repeats > 1 else ""
            raise RuntimeError(
                f"each row of a batch must be assigned to an architecture, got a batch of {batch} "
                f"and {len(numbers) or 'no'} assigned rows{times}; call the model inside "
                "rows([...])"
            )
        self.batch = batch
        for number, lane in enumerate(self.all):
            lane.numbers = [row for row, owner in enumerate(numbers) if owner == number]


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
        flat = self.lanes.flattens and value.dim() == 2 and value.shape[0] % batch == 0
        return flat or value.shape[0] == batch

    def _index(self, like: Tensor) -> Tensor:
        return torch.tensor(self.numbers, dtype=torch.long, device=like.device)


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
