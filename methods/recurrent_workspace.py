"""What the CPU's kernel of an LSTM keeps for the backward pass, which fake tensors do not show."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from peftnas.methods.saved_tensors import SavedTensors


class Workspaces:
    """Bytes of the workspaces of all LSTMs that ran inside :meth:`counting`."""

    def __init__(self) -> None:
        self.bytes = 0

    @contextmanager
    def counting(self, root: nn.Module) -> Iterator[None]:
        """Count the calls of every LSTM below a module."""

        def hook(module: nn.Module, args: tuple[Tensor, ...], _: object) -> None:
            assert isinstance(module, nn.LSTM)
            shape = tuple(args[0].shape)
            sizes = module.input_size, module.hidden_size, module.num_layers
            self.bytes += _workspace(shape, *sizes, module.bidirectional)

        lstms = [module for module in root.modules() if isinstance(module, nn.LSTM)]
        handles = [module.register_forward_hook(hook) for module in lstms]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@functools.lru_cache(maxsize=256)
def _workspace(
    shape: tuple[int, ...], n_in: int, hidden: int, layers: int, bidirectional: bool
) -> int:
    """What a real call saves more than a fake one: the fake workspace has no size."""
    real = _saved(shape, n_in, hidden, layers, bidirectional)
    with FakeTensorMode():
        return real - _saved(shape, n_in, hidden, layers, bidirectional)


def _saved(
    shape: tuple[int, ...], n_in: int, hidden: int, layers: int, bidirectional: bool
) -> int:
    with torch.random.fork_rng(devices=[]):  # its start does not matter
        lstm = nn.LSTM(n_in, hidden, layers, bidirectional=bidirectional, batch_first=True)
    saved = SavedTensors(lstm.parameters())
    with torch.enable_grad(), saved:
        lstm(torch.zeros(shape))
    return saved.bytes
