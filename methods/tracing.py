"""Forward passes on a fake backbone: what they save for the backward pass, what they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from peftnas.methods.attach import AttachedModules
from peftnas.methods.fake_backbone import FakeBackbone
from peftnas.methods.gates import Gate
from peftnas.methods.reads import Reads, answer_of, inputs_for
from peftnas.methods.recurrent_workspace import Workspaces
from peftnas.methods.saved_tensors import SavedTensors
from peftnas.methods.training import BeginsStep


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
        reached: identities of the parameters that get a gradient.
        frozen_head_bytes: of a head over the vocabulary that shares no table with the backbone.
    """

    saved: int
    saved_checkpointed: int
    lowest_layer: int | None
    head_parameters: int
    reached: frozenset[int]
    frozen_head_bytes: int = 0


def trace_training(
    backbone: FakeBackbone,
    attached: AttachedModules,
    reads: Reads,
    outputs: int = 0,
    *,
    words: int | None = None,
) -> Trace:
    """The forward passes of a training step, penalties of the modules included.

    One, or two where modules compute at random and two passes are to agree. The backbone itself is
    in eval mode, without dropout.

    Args:
        backbone: that the modules are attached to.
        attached: the modules; they are put into training mode.
        reads: what the backbone is called with.
        outputs: of a linear float32 head on the mean over tokens, cross-entropy included; 0: none.
        words: positions at which a frozen head tells a word of the vocabulary, cross-entropy
            included; ``None``: there is no such head.
    """
    recorder = saved_by(backbone.base, attached, backbone.layers)
    workspaces = Workspaces()
    attached.train()
    roots: list[Tensor] = []
    head_parameters, frozen = 0, 0
    with torch.enable_grad(), recorder, workspaces.counting(attached):
        for draw in range(1 + attached.steps.wants_two_passes):
            _draw(attached, draw)
            answer = answer_of(_call(backbone, reads))
            if outputs:
                answer, head_parameters = _run_head(attached, answer, outputs)
            if words is not None:
                answer, frozen = _tell_words(backbone, attached, answer, words)
            roots.append(answer)
        penalty = attached.steps.penalty()
    roots += [] if penalty is None else [penalty]
    return Trace(
        recorder.bytes + workspaces.bytes,
        recorder.checkpointed_bytes + workspaces.bytes,
        recorder.lowest_layer,
        head_parameters,
        _reached(roots),
        frozen,
    )


def _draw(attached: AttachedModules, draw: int) -> None:
    """Let modules draw that hold nothing before; others begin with the most that they draw."""
    for module in attached.modules():
        if isinstance(module, BeginsStep) and (module.drawn is None or draw):
            module.begin_step(0, 1, draw)


def _reached(roots: Sequence[Tensor]) -> frozenset[int]:
    """Identities of the parameters that a backward pass from some tensors comes to."""
    waiting: list[Any] = [root.grad_fn for root in roots]
    seen: set[Any] = set()
    found: set[int] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return frozenset(found)


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
            backbone.call(reads, step)
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
    return backbone.call(reads, inputs)


def _tell_words(
    backbone: FakeBackbone, attached: AttachedModules, answer: Tensor, words: int
) -> tuple[Tensor, int]:
    """The loss of a word at some positions, and the bytes of a head of its own."""
    config = backbone.base.config.get_text_config(decoder=True)
    hidden = attached.real(answer).flatten(0, 1)[:words]
    # a head is no tensor that autograd saves anew, so it is a view of one that exists anyway
    table = next(
        part
        for part in backbone.base.parameters()
        if part.dim() == 2 and part.shape[0] == config.vocab_size
    ).detach()
    narrow = hidden[:, : table.shape[1]]
    logits = nn.functional.linear(narrow, table).float()
    loss = nn.functional.cross_entropy(logits, torch.zeros(len(hidden), dtype=torch.long))
    tied = getattr(config, "tie_word_embeddings", False)
    return loss, 0 if tied else table.numel() * table.itemsize


def _run_head(attached: AttachedModules, answer: Tensor, outputs: int) -> tuple[Tensor, int]:
    """The loss of a linear layer on the mean over tokens, and the number of its parameters."""
    pooled = attached.real(answer).mean(dim=1) if answer.dim() == 3 else answer
    weight = pooled.new_empty(outputs, pooled.shape[-1], dtype=torch.float32).requires_grad_()
    bias = weight.new_empty(outputs).requires_grad_()
    logits = nn.functional.linear(pooled.float(), weight, bias)
    loss = nn.functional.cross_entropy(logits, torch.zeros(len(pooled), dtype=torch.long))
    return loss, weight.numel() + bias.numel()
