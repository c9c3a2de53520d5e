"""The port between a backbone and the task head behind it: a head sees real tokens alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from peftnas.methods.stack_port import StackPort


class HeadPort:
    """Takes the positions of prompts out of what a task head reads.

    Heads count on one hidden state a token: labels of tokens, the place of the last token. Who
    calls the backbone itself gets the hidden states of prompts too.

    Args:
        stack: port of the stack whose output the head reads.
    """

    def __init__(self, stack: StackPort) -> None:
        self.stack = stack
        self._inside = False

    def enter(self, module: nn.Module, args: Any) -> None:
        """Forward pre-hook at the model with the head."""
        self._inside = True

    def leave(self, module: nn.Module, args: Any, out: Any) -> None:
        """Forward hook there, called even if it fails."""
        self._inside = False

    def strip(self, module: nn.Module, args: Any, out: Any) -> Any:
        """Forward hook at the entry of the stack."""
        if not self._inside:
            return out
        if isinstance(out, tuple):
            return (self._real(out[0]), *out[1:])
        out.last_hidden_state = self._real(out.last_hidden_state)
        return out

    def _real(self, hidden: Tensor) -> Tensor:
        return self.stack.real(hidden) if self.stack.entering else hidden
