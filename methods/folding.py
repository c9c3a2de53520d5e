"""What a network that is needed in training only folds into, kept from ``merge()`` on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


class Folds:
    """Keeps what a module computes from its parameters alone, while it is said to be final.

    Also then a pass in training, or with gradients, forgets everything, and so does a change of a
    parameter that torch notices (an optimiser, ``load_state_dict``, a move to another device).
    What is kept is the very tensor that the network gave, so nothing changes but the time.

    Args:
        module: whose parameters they are; it is not kept.

    Attributes:
        final: whether anything is kept.
    """

    def __init__(self, module: nn.Module) -> None:
        self._parameters = tuple(module.parameters())
        self._state: list[Any] = []
        self._storages: list[torch.UntypedStorage] = []
        self._kept: dict[Any, Any] = {}
        self.final = False

    def get(self, training: bool, key: Any, work: Callable[[], T]) -> T:
        """``work()``, or what it gave before.

        Args:
            training: whether the module is in training mode.
            key: what it depends on beside the parameters, such as a layer and a dtype.
            work: the computation.
        """
        if (
            not self.final
            or training
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()  # first: a compiler cannot ask for what follows
            or any(parameter.is_inference() for parameter in self._parameters)
        ):
            self._kept.clear()
            return work()
        storages = [parameter.untyped_storage() for parameter in self._parameters]
        state = [
            (parameter._version, storage._cdata)
            for parameter, storage in zip(self._parameters, storages, strict=True)
        ]
        if state != self._state:
            self._kept.clear()
            # the storages too: another one at the address of a freed one would look the same
            self._state, self._storages = state, storages
        if key not in self._kept:
            self._kept[key] = work()
        found: T = self._kept[key]
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Copies begin with nothing kept."""
        kept: dict[str, Any] = {"_state": [], "_storages": [], "_kept": {}}
        return kept | {"_parameters": self._parameters, "final": self.final}


def keep_folded(root: nn.Module, final: bool) -> None:
    """Let networks below a module run once from now on, or in every call again."""
    for module in root.modules():
        for value in vars(module).values():
            if isinstance(value, Folds):
                value.final = final
