"""What training steps cost, measured while a trial trains: seconds, and peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from peftnas.methods.measured_memory import state_bytes
from peftnas.methods.saved_tensors import SavedTensors

WARM_UP = 5
"""First steps whose seconds do not count, or half of them where there are fewer than 10; in each
process that a trial runs in."""


class StepMeter:
    """Measures the training steps of one trial; changes nothing of what they compute.

    Seconds: forward, backward and optimiser. Memory: on a GPU the peak that the allocator saw from
    the second step on (the optimiser has its state then), without what other models hold there. On
    a CPU, whose allocator does not tell: weights, gradients, the optimiser's state, and the
    tensors that autograd saved in the step with the largest batch; no workspace of kernels.

    Args:
        owned: parameters and buffers of backbone, modules and head.
        optimiser: that moves them; ``None``: there is nothing to move.
        device: such as "cpu" or "cuda".
    """

    def __init__(
        self, owned: Iterable[Tensor], optimiser: torch.optim.Optimizer | None, device: str
    ) -> None:
        self._owned = list({id(part): part for part in owned}.values())
        self._optimiser = optimiser
        self._cuda = device != "cpu"
        self._seconds: list[float] = []  # of the steps here
        self._earlier: list[float] = []  # of those that count, in earlier processes
        self._least = 0  # bytes that were measured in earlier processes
        # elements of a batch whose saved tensors were counted, and whether attention got a mask
        self._largest = (0, False)
        self._saved = 0
        self._peak = 0
        self._foreign = 0
        if self._cuda:
            mine = sum(part.numel() * part.itemsize for part in self._owned)
            self._foreign = max(0, torch.cuda.memory_allocated() - mine)

    @contextmanager
    def step(self, inputs: dict[str, Any]) -> Iterator[None]:
        """One training step happens inside.

        Args:
            inputs: what the backbone reads in it; a batch is as large as its tensors.
        """
        saved = self._counter(inputs)
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        with saved or nullcontext():
            yield
        if self._cuda:
            torch.cuda.synchronize()
        self._seconds.append(time.perf_counter() - start)
        if saved is not None:
            self._saved = max(self._saved, saved.bytes)
        if self._cuda and len(self._seconds) != 1:
            self._peak = max(self._peak, torch.cuda.max_memory_allocated() - self._foreign)

    def measured(self) -> dict[str, float]:
        """``train_memory_bytes`` and ``train_step_s``, after the last step."""
        return {
            "train_memory_bytes": self._memory(),
            "train_step_s": statistics.median(self.seconds()),
        }

    def state(self) -> dict[str, Any]:
        """What a trial that goes on elsewhere has to know besides the seconds; JSON values."""
        return {"saved": self._saved, "largest": list(self._largest), "memory": self._memory()}

    def go_on(self, state: Mapping[str, Any], seconds: list[float]) -> None:
        """Continue what was measured in earlier processes, each of which had a warm-up."""
        elements, padded = state["largest"]
        self._largest = (elements, padded)
        self._saved, self._least = state["saved"], state["memory"]
        self._earlier = seconds

    def seconds(self) -> list[float]:
        """Those of the steps that count, in all processes."""
        warm_up = min(WARM_UP, len(self._seconds) // 2)
        return [*self._earlier, *self._seconds[warm_up:]]

    def _memory(self) -> int:
        if not self._seconds:
            return self._least
        if self._peak:
            return max(self._least, self._peak)
        return self._saved + state_bytes(self._owned, self._optimiser)

    def _counter(self, inputs: dict[str, Any]) -> SavedTensors | None:
        """Counts in a step whose batch is larger than any before; it makes a step a bit slower.

        Of two as large the one with padding: attention saves a mask for it.
        """
        # on a GPU it stands in for the allocator where there is one step alone
        if self._cuda and self._seconds:
            return None
        size = sum(part.numel() for part in inputs.values() if isinstance(part, Tensor))
        mask = inputs.get("attention_mask")
        largest = (size, mask is not None and bool((mask == 0).any()))
        if largest <= self._largest:
            return None
        self._largest = largest
        return SavedTensors(self._owned, backward=True)
