"""Forward passes on a fake backbone: what they save for the backward pass, what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from peftnas.methods.attach import AttachedModules
from peftnas.methods.fake_backbone import FakeBackbone
from peftnas.methods.gates import Gate
from peftnas.methods.reads import Reads, answer_of, inputs_for
from peftnas.methods.saved_tensors import SavedTensors


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the FLOP of matrix products, convolutions and attention while it is entered.

    A multiplication and an addition are two. The counts are those of
    ``torch.utils.flop_counter.FlopCounterMode``, which knows the attention of GPUs only and works
    out for each operation which modules it belongs to.

    Attributes:
        flop: counted so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flop: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = func._overloadpacket
        if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
            query, key, value = args[:3]
            shapes = (query.shape, key.shape, value.shape)
            self.flop += sdpa_flop_count(*shapes)  # type: ignore[no-untyped-call]
        elif packet in flop_registry:
            self.flop += flop_registry[packet](*args, **kwargs, out_val=out)
        return out


@dataclass(frozen=True)
class Trace:
    """What one forward pass in training saves for the backward pass.

    Attributes:
        saved: bytes.
        saved_checkpointed: the same where layers are run again; see ``SavedTensors``.
        lowest_layer: the first layer whose output has a gradient; ``None``: no layer has.
        head_parameters: trained in the head on top.
    """

    saved: int
    saved_checkpointed: int
    lowest_layer: int | None
    head_parameters: int


def trace_training(
    backbone: FakeBackbone, attached: AttachedModules, reads: Reads, outputs: int = 0
) -> Trace:
    """One forward pass in training; the backbone itself is in eval mode, without dropout.

    Args:
        backbone: that the modules are attached to.
        attached: the modules; they are put into training mode.
        reads: what the backbone is called with.
        outputs: of a linear float32 head on the mean over tokens, cross-entropy included; 0: none.
    """
    recorder = saved_by(backbone.base, attached, backbone.layers)
    attached.train()
    head_parameters = 0
    with torch.enable_grad(), recorder:
        found = _call(backbone, reads)
        if outputs:
            head_parameters = _run_head(attached, found, outputs)
    return Trace(
        recorder.bytes, recorder.checkpointed_bytes, recorder.lowest_layer, head_parameters
    )


def saved_by(
    base: nn.Module, attached: AttachedModules, layers: Mapping[int, nn.Module]
) -> SavedTensors:
    """A recorder for calls of a backbone, fake or real, with its attached modules."""
    owners = (base, attached)
    owned = [tensor for one in owners for tensor in (*one.parameters(), *one.buffers())]
    return SavedTensors(owned, layers)


def forward_flop(backbone: FakeBackbone, reads: Reads) -> int:
    """FLOP of one call with everything that is attached and not merged."""
    counter = FlopCounter()
    with torch.no_grad(), counter:
        _call(backbone, reads)
    return counter.flop


def generates(backbone: FakeBackbone, attached: AttachedModules) -> bool:
    """Whether words come one by one from a cache, with what is attached.

    A gate over a whole text cannot go on in the stack that gives the words.
    """
    writer = attached.call(len(backbone.anatomy.stacks) - 1)
    gates = [module for module in attached.modules() if isinstance(module, Gate)]
    return backbone.decodes and not any(
        gate.spec.tokens != "causal" and any(call is writer for call in gate.call)
        for gate in gates
    )


def decoding_flop(backbone: FakeBackbone, reads: Reads) -> int:
    """FLOP of one more token behind those in a cache, of a backbone that has one."""
    counter = FlopCounter()
    with torch.no_grad():
        found = _call(backbone, reads, use_cache=True)
        step: dict[str, Any] = {"use_cache": True, "past_key_values": found.past_key_values}
        one = torch.ones(reads.batch, 1, dtype=torch.long)
        if "encoder_outputs" in backbone.arguments:
            step["encoder_outputs"] = (found.encoder_last_hidden_state,)
            step["decoder_input_ids"] = one
        else:
            step["input_ids"] = one
        with counter:
            backbone.call(reads.batch, reads.tokens, step)
    return counter.flop


def positions(backbone: FakeBackbone, reads: Reads) -> int:
    """Positions in all sequences that the bare backbone gives, B * T.

    Patches of an image and its class token, words of a decoder; of two towers the words.
    """
    with torch.no_grad():
        answer = answer_of(_call(backbone, reads))
    return reads.batch * (answer.shape[1] if answer.dim() == 3 else reads.tokens)


def _call(backbone: FakeBackbone, reads: Reads, **more: Any) -> Any:
    inputs = inputs_for(backbone.base, backbone.anatomy, reads) | more
    return backbone.call(reads.batch, reads.tokens, inputs)


def _run_head(attached: AttachedModules, found: Any, outputs: int) -> int:
    """A linear layer on the mean over tokens and its loss; gives the number of its parameters."""
    answer = answer_of(found)
    pooled = attached.real(answer).mean(dim=1) if answer.dim() == 3 else answer
    weight = pooled.new_empty(outputs, pooled.shape[-1], dtype=torch.float32).requires_grad_()
    bias = weight.new_empty(outputs).requires_grad_()
    logits = nn.functional.linear(pooled.float(), weight, bias)
    nn.functional.cross_entropy(logits, torch.zeros(len(pooled), dtype=torch.long))
    return weight.numel() + bias.numel()
