"""One forward pass of an architecture on a fake backbone: what it saves and computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from peftnas.methods.attach import AttachedModules
from peftnas.methods.fake_backbone import FakeBackbone, Reads
from peftnas.methods.saved_tensors import SavedTensors


class FlopCounter(TorchDispatchMode):
    """Counts the FLOP of matrix products, convolutions and attention while it is entered.

    A multiplication and an addition are two. The counts are those of
    ``torch.utils.flop_counter.FlopCounterMode``, which knows the attention of GPUs only and works
    out for each operation which modules it belongs to.

    Attributes:
        flop: counted so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            query, key, value = args[:3]
            self.flop += sdpa_flop_count(query.shape, key.shape, value.shape)
        elif packet in flop_registry:
            self.flop += flop_registry[packet](*args, **kwargs, out_val=out)
        return out


@dataclass(frozen=True)
class Trace:
    """What one forward pass in training saves, in bytes, and computes.

    Attributes:
        saved: kept for the backward pass.
        saved_checkpointed: the same where layers are run again; see ``SavedTensors``.
        lowest_layer: the first layer whose output has a gradient.
        head_parameters: of the head that was put on top.
    """

    saved: int
    saved_checkpointed: int
    lowest_layer: int | None
    head_parameters: int


def trace_training(
    backbone: FakeBackbone, attached: AttachedModules, reads: Reads, outputs: int = 0
) -> Trace:
    """One forward pass in training, its modules in training mode, the backbone in eval mode.

    Args:
        backbone: that the modules are attached to.
        attached: the modules.
        reads: what it is called with.
        outputs: of a linear head on the mean over tokens, with its loss; 0: no head.
    """
    base = backbone.base
    layers = {
        number: base.get_submodule(site.path) for number, site in enumerate(backbone.anatomy.layers)
    }
    owned = [*base.parameters(), *base.buffers(), *attached.parameters(), *attached.buffers()]
    recorder = SavedTensors(owned, layers)
    attached.train()
    head_parameters = 0
    with torch.enable_grad(), recorder:
        found = base(**backbone.inputs(reads))
        if outputs:
            head_parameters = _run_head(attached, found, outputs)
    return Trace(
        recorder.bytes, recorder.checkpointed_bytes, recorder.lowest_layer, head_parameters
    )
