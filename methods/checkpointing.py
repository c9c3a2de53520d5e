"""Gradient checkpointing computes layers again in the backward pass: then with the state they had.

A layer that is computed again reads what ports and modules hold of a pass: the mask of real
tokens, what was drawn for the step. By then another pass may have begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from peftnas.methods.call import Call
from peftnas.methods.lanes import Lane
from peftnas.methods.training import BeginsStep

_FUNCTION = "_gradient_checkpointing_func"  # of the layers of transformers


class PassState:
    """What one architecture computes with in a pass.

    Args:
        calls: state of the pass of each stack.
        modules: all modules, of which some draw what a step computes with.
        lane: the rows that it sees, where others share the backbone.
    """

    def __init__(
        self, calls: Sequence[Call], modules: Sequence[nn.Module], lane: Lane | None
    ) -> None:
        self.calls = list(calls)
        self.drawing = [
            part for module in modules for part in module.modules() if isinstance(part, BeginsStep)
        ]
        self.lane = lane

    def now(self) -> tuple[Any, ...]:
        """The state as it is, for :meth:`put_back`."""
        rows = None if self.lane is None else (self.lane.lanes.batch, self.lane.numbers)
        return [call.state() for call in self.calls], [part.drawn for part in self.drawing], rows

    def put_back(self, state: tuple[Any, ...]) -> None:
        """Compute with that state from now on."""
        calls, drawn, rows = state
        for call, of_call in zip(self.calls, calls, strict=True):
            call.put_back(of_call)
        for part, value in zip(self.drawing, drawn, strict=True):
            part.drawn = value
        if self.lane is not None:
            self.lane.lanes.batch, self.lane.numbers = rows

    def pin(self, layer: nn.Module, args: Any) -> None:
        """Forward pre-hook at a layer: what computes it again does so with the state of now."""
        if not (layer.training and getattr(layer, "gradient_checkpointing", False)):
            return
        function = getattr(layer, _FUNCTION)
        former, states = unpinned(function), dict(getattr(function, "states", {}))
        setattr(layer, _FUNCTION, Pinned(former, states | {self: self.now()}))

    def unpin(self, layer: nn.Module) -> None:
        """Leave a layer as it was before :meth:`pin`."""
        function = getattr(layer, _FUNCTION, None)
        if isinstance(function, Pinned):
            rest = {owner: state for owner, state in function.states.items() if owner is not self}
            setattr(layer, _FUNCTION, Pinned(function.former, rest) if rest else function.former)


class Pinned:
    """Checkpoints a layer with the states that passes of architectures had when it began."""

    def __init__(self, former: Callable[..., Any], states: dict[PassState, Any]) -> None:
        self.former = former
        self.states = states

    def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.former(Again(function, self.states), *args)


class Again:
    """A function that computes with the states of its pass, whatever has begun since."""

    def __init__(self, function: Callable[..., Any], states: dict[PassState, Any]) -> None:
        self.function = function
        self.states = states

    def __call__(self, *args: Any) -> Any:
        now = [(owner, owner.now()) for owner in self.states]
        for owner, state in self.states.items():
            owner.put_back(state)
        try:
            return self.function(*args)
        finally:
            for owner, state in now:
                owner.put_back(state)


def unpinned(function: Any) -> Any:
    """What a layer is checkpointed with by itself."""
    return function.former if isinstance(function, Pinned) else function
