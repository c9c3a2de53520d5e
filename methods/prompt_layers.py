"""Prompts on their way through the layers of a stack: some layers read others in their place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from peftnas.methods.base import LayerPrompts
from peftnas.methods.call import Call, compute
from peftnas.methods.sites import StackSite

if TYPE_CHECKING:
    from peftnas.methods.stack_port import StackPort


class PromptLayers:
    """Which layers of a stack replace prompts, and by how many.

    Args:
        stack: the stack.
        start: tokens in front of the prompts.
        length: prompts that enter; masks have room for them.
        anew: what layers read in their place, by layer.
        call: state of the running pass.
    Attributes:
        changing: prompts that come to a layer and that it reads, where it has to see to it.
        length_behind: prompts behind the last layer.
    """

    def __init__(
        self,
        stack: StackSite,
        start: int,
        length: int,
        anew: Mapping[int, LayerPrompts],
        call: Call,
    ) -> None:
        self.start, self.length, self.anew, self.call = start, length, dict(anew), call
        self.changing: dict[int, tuple[int, int]] = {}
        here = length
        for layer in stack.layers:
            before = here
            if layer in self.anew:
                here = len(self.anew[layer]())
            if layer in self.anew or here != length:
                self.changing[layer] = (before, here)
        self.length_behind = here

    def change(
        self, layer: int, names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a layer with its own vectors at the positions of the prompts.

        Args:
            layer: its number, one of ``changing``.
            names: of its positional arguments; the first are the hidden states (B, l + T, d).
            args: positional arguments.
            kwargs: the others.
        """
        named = dict(zip(names, args, strict=False)) | kwargs
        before, here = self.changing[layer]
        hidden: Tensor = named[names[0]]
        if layer in self.anew:
            new = compute(self.anew[layer], hidden).to(hidden.dtype)
            first, rest = hidden[:, : self.start], hidden[:, self.start + before :]
            hidden = torch.cat([first, new.expand(len(hidden), -1, -1), rest], dim=1)
        named[names[0]] = hidden
        mask = named.get("attention_mask")
        if here != self.length and isinstance(mask, Tensor):
            named["attention_mask"] = self._fitted(mask, hidden.shape[1], here)
        self._tell(here)
        return tuple(named.pop(name) for name in names[: len(args)]), named

    def _fitted(self, mask: Tensor, tokens: int, here: int) -> Tensor:
        """A mask (B, keys) or (B, h, queries, keys) for so many prompts, which all are seen."""
        entered = tokens - here + self.length
        behind = range(self.start + self.length, entered)
        at = torch.tensor([*range(self.start), *[self.start] * here, *behind], device=mask.device)
        mask = mask.index_select(-1, at)
        if mask.dim() == 4 and mask.shape[-2] == entered:
            mask = mask.index_select(-2, at)
        return mask

    def _tell(self, here: int) -> None:
        """Modules that read the mask of real tokens find so many prompts in it."""
        call, stood = self.call, self.call.prompts
        if stood is None or stood.stop - stood.start == here:
            return
        if call.tokens is not None:
            before, behind = call.tokens[:, : stood.start], call.tokens[:, stood.stop :]
            new = before.new_ones(len(before), here)
            call.tokens = torch.cat([before, new, behind], dim=1)
        call.prompts = slice(stood.start, stood.start + here)


class LayerHook:
    """Forward pre-hook at a layer that changes prompts, or the mask that goes with them."""

    def __init__(self, port: StackPort, layer: int, block: nn.Module) -> None:
        self.port = port
        self.layer = layer
        self.names = list(inspect.signature(type(block).forward).parameters)[1:]

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.port.entering:
            return args, kwargs
        return self.port.layers.change(self.layer, self.names, args, kwargs)
