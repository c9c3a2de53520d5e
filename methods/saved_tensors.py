"""What autograd keeps from the forward pass for the backward pass, measured while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

Storages = dict[int, torch.UntypedStorage]
"""Storages by their address; held, so that no other one can get it."""


class SavedTensors:
    """Counts the storages that autograd saves while it is entered, each once.

    What exists anyway, weights and buffers, counts as nothing. Real and fake tensors alike.

    Args:
        owned: tensors that exist anyway.
        layers: number -> module; what is saved in the calls of one of them counts as its own.
        backward: whether a backward pass follows, which needs what is saved; without it only the
            sizes are kept.
    """

    def __init__(
        self,
        owned: Iterable[Tensor],
        layers: Mapping[int, nn.Module] | None = None,
        *,
        backward: bool = False,
    ) -> None:
        self._owned = _storages(owned)
        self._layers = layers or {}
        self._backward = backward
        self._calls = 0
        self._running: list[int] = []
        self._seen: set[int] = set()
        self._outside: Storages = {}
        self._inside: dict[int, Storages] = {}
        self._inputs: dict[int, Storages] = {}
        self._reached: set[int] = set()
        self._handles: list[RemovableHandle] = []
        unpack = _same if backward else _unpack
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, unpack)

    @property
    def bytes(self) -> int:
        """All that is saved."""
        return _size(self._outside) + sum(map(_size, self._inside.values()))

    @property
    def checkpointed_bytes(self) -> int:
        """The same where layers are run again in the backward pass, one at a time.

        A layer that is run again keeps what it reads; beside these there is room for all that the
        largest layer saves.
        """
        largest = max(map(_size, self._inside.values()), default=0)
        return self.kept_for_rerun + largest

    @property
    def kept_for_rerun(self) -> int:
        """Of ``checkpointed_bytes`` what lies there from the forward pass on."""
        kept = dict(self._outside)
        for call in self._inside:
            kept |= self._inputs[call]
        return _size(kept)

    @property
    def lowest_layer(self) -> int | None:
        """The first layer whose output has a gradient; ``None``: no layer has."""
        return min(self._reached, default=None)

    def __enter__(self) -> Self:
        for layer, module in self._layers.items():
            self._handles += [
                module.register_forward_pre_hook(self._enter(), prepend=True),
                module.register_forward_hook(self._leave(layer)),
            ]
        self._hooks.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hooks.__exit__(kind, error, trace)
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _enter(self) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            # a layer that is called several times (albert) is run again call by call
            self._calls += 1
            self._running.append(self._calls)
            read = _storages(part for part in args if isinstance(part, Tensor))
            self._inputs[self._calls] = {
                key: storage for key, storage in read.items() if key not in self._owned
            }

        return hook

    def _leave(self, layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            self._running.pop()
            h: Tensor = out[0] if isinstance(out, tuple) else out
            if h.requires_grad:
                self._reached.add(layer)

        return hook

    def _pack(self, tensor: Tensor) -> Tensor | None:
        self._count(tensor)
        return tensor if self._backward else None

    def _count(self, tensor: Tensor) -> None:
        [(key, storage)] = _storages([tensor]).items()
        if key in self._owned or key in self._seen:
            return
        self._seen.add(key)
        if self._running:
            self._inside.setdefault(self._running[-1], {})[key] = storage
        else:
            self._outside[key] = storage


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _unpack(_: None) -> Tensor:
    raise RuntimeError("a pass under SavedTensors only measures; run the backward pass without it")


def _storages(tensors: Iterable[Tensor]) -> Storages:
    found = (tensor.untyped_storage() for tensor in tensors)
    return {storage._cdata: storage for storage in found}


def _size(storages: Storages) -> int:
    return sum(storage.nbytes() for storage in storages.values())
