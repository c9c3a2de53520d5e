"""What an architecture costs on a backbone, before anything is trained and without weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig

from peftnas.methods.anatomies.family import Family
from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Method
from peftnas.methods.checks import check_config, check_dropout, check_dtype, check_family
from peftnas.methods.fake_backbone import FakeBackbone, fake_backbone
from peftnas.methods.folding import keep_folded
from peftnas.methods.reads import Reads
from peftnas.methods.tracing import (
    Trace,
    decoding_flop,
    forward_flop,
    generates,
    positions,
    trace_training,
)
from peftnas.spaces.architecture import Architecture, as_architecture
from peftnas.spaces.nearest import did_you_mean

OPTIMISER_STATES = {"adamw": 2, "adam": 2, "momentum": 1, "sgd": 0}
"""Numbers that an optimiser keeps for each trained one, in the dtype of the parameter."""


@dataclass(frozen=True)
class TrainMemory:
    """Peak memory of a training step by what it is for, in bytes.

    Not in it: workspace of kernels, what the backward pass needs for the moment, fragmentation.

    Attributes:
        weights: of the frozen backbone, buffers included.
        trainable: parameters that are trained, those of the head included.
        gradients: one for each of them that a step reaches (not for experts that wait).
        optimiser: its state.
        activations: tensors saved for the backward pass.
    """

    weights: int
    trainable: int
    gradients: int
    optimiser: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.trainable + self.gradients + self.optimiser + self.activations


@dataclass(frozen=True)
class Costs:
    """Costs of an architecture on a backbone for a given batch.

    FLOP are those of matrix products, convolutions and attention, two for a multiplication and an
    addition. "Per token" is per position of the backbone's output at the given batch and tokens:
    a patch or the class token of an image, a word of a decoder (the encoder's share included).

    Attributes:
        trainable_parameters: without the head, training-only ones included.
        stored_parameters: needed to run after training.
        stored_bytes: of these, in the dtypes in which they are kept, and of the places of sparse
            ones. ``save`` writes more where something serves the training alone, so that it can go
            on: the network of a prefix or a prompt, all experts, ranks that fold away.
        train_memory: peak memory of a training step.
        forward_flop: of the bare backbone per token.
        extra_flop: added per token by the modules, not merged; what folds away (the network of a
            prefix or a prompt) has been folded.
        extra_flop_merged: added per token by the modules that remain after ``merge()``.
        extra_flop_decoded: added to one token behind ``tokens`` others in a cache, not merged;
            ``None`` where the backbone decodes from no cache of keys and values, or cannot with a
            gate over a whole text.
        remaining: modules that cannot be merged, as ``site: kind``.
        lowest_layer: the first layer that the backward pass reaches: that of the lowest module,
            the first one of its stack for prompts and all that acts before the layers; ``None``:
            no layer.
    """

    trainable_parameters: int
    stored_parameters: int
    stored_bytes: int
    train_memory: TrainMemory
    forward_flop: float
    extra_flop: float
    extra_flop_merged: float
    extra_flop_decoded: float | None
    remaining: tuple[str, ...]
    lowest_layer: int | None

    @property
    def train_memory_bytes(self) -> int:
        """Peak memory of a training step."""
        return self.train_memory.total

    @property
    def mergeable(self) -> bool:
        """Whether nothing remains after ``merge()``: inference costs nothing more."""
        return not self.remaining


def costs(
    architecture: Architecture | Method,
    config: PreTrainedConfig,
    *,
    batch: int,
    tokens: int,
    dtype: torch.dtype = torch.float32,
    optimiser: str = "adamw",
    outputs: int = 0,
    padded: bool = False,
    dropout: float = 0.0,
    checkpointing: bool = False,
    family: Family | None = None,
) -> Costs:
    """The costs of an architecture, traced on a backbone of fake tensors.

    Nothing is written down by method: one forward pass is run and what autograd saves is counted,
    with the attention that the config asks for, by the kernels of a CPU. A GPU's may differ:
    fused attention saves the same (queries, keys, values, output, log-sums), dropout saves one
    byte an element there and four here. Mamba is traced on its slow path, which saves every step
    of the scan, and takes a while; the scan counts as no FLOP. The backbone itself runs without
    dropout, as trials run it.

    Args:
        architecture: methods holding values, or one such method.
        config: of the backbone; of its base model.
        batch: sequences of a step, from 1 on.
        tokens: of each, in both stacks of an encoder-decoder; for an image its config decides.
        dtype: of the backbone. Modules keep float32 parameters where it has 16 bits.
        optimiser: "adamw", "adam", "momentum" (SGD with it) or "sgd".
        outputs: of a linear head that is trained too; 0: no head.
        padded: whether sequences differ in length, so that attention gets a mask.
        dropout: probability in [0, 1) of dropout on what modules read.
        checkpointing: whether layers are run again in the backward pass.
        family: description of a family that the package does not know.
    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the architecture does not fit the backbone, or an argument is out of range.
        UnsupportedBackboneError: if no family describes the backbone.
    """
    architecture = as_architecture(architecture)
    _check(config, dtype, optimiser, outputs, dropout, family)
    reads = Reads(batch, tokens, padded)
    backbone = fake_backbone(config, dtype, family)
    per_call, per_step, n_positions = _bare(backbone, batch, tokens)
    attached = backbone.attach(architecture, dropout)
    try:
        trace = trace_training(backbone, attached, reads, outputs)
        memory = _memory(backbone, attached, trace, OPTIMISER_STATES[optimiser], checkpointing)
        stored = [(part, _itemsize(module)) for part, module in attached.placed]
        whole = Reads(batch, tokens)
        attached.eval()
        keep_folded(attached, True)
        if any(part.stored() != part.count() for part, _ in attached.placed):
            forward_flop(backbone, whole)  # networks that fold away run in the first call alone
        extra = forward_flop(backbone, whole) - per_call
        decoded = None
        if per_step is not None and generates(backbone, attached):
            decoded = (decoding_flop(backbone, whole) - per_step) / batch
        remaining = attached.merge().remaining
        merged = forward_flop(backbone, whole) - per_call if remaining else 0
    finally:
        attached.detach()
    return Costs(
        trainable_parameters=attached.count,
        stored_parameters=sum(part.stored() for part, _ in stored),
        stored_bytes=sum(part.stored_bytes(size) for part, size in stored),
        train_memory=memory,
        forward_flop=per_call / n_positions,
        extra_flop=extra / n_positions,
        extra_flop_merged=merged / n_positions,
        extra_flop_decoded=decoded,
        remaining=remaining,
        lowest_layer=trace.lowest_layer,
    )


def predicted_train_memory(
    architecture: Architecture | Method,
    config: PreTrainedConfig,
    reads: Reads,
    *,
    dtype: torch.dtype = torch.float32,
    optimiser: str = "adamw",
    outputs: int = 0,
    dropout: float = 0.0,
    checkpointing: bool = False,
    family: Family | None = None,
    words: int | None = None,
) -> TrainMemory:
    """The ``train_memory`` of :func:`costs` alone, several times faster, for any sizes of inputs.

    Args:
        architecture: methods holding values, or one such method.
        config: of the backbone; of its base model.
        reads: what the backbone is called with.
        dtype, optimiser, outputs, dropout, checkpointing, family: as in :func:`costs`.
        words: positions, of all sequences together, that are answered with a word of the
            vocabulary by a frozen head as large as the table of words (which it shares if the
            config ties them); ``None``: there is no such head.
    """
    architecture = as_architecture(architecture)
    _check(config, dtype, optimiser, outputs, dropout, family)
    backbone = fake_backbone(config, dtype, family)
    attached = backbone.attach(architecture, dropout)
    try:
        trace = trace_training(backbone, attached, reads, outputs, words=words)
        return _memory(backbone, attached, trace, OPTIMISER_STATES[optimiser], checkpointing)
    finally:
        attached.detach()


def remaining_modules(
    architecture: Architecture | Method,
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    family: Family | None = None,
) -> tuple[str, ...]:
    """Modules that still run after ``merge()``, as ``site: kind``; needs no weights.

    Args:
        architecture: methods holding values, or one such method.
        config: of the backbone; of its base model.
        dtype: of the backbone.
        family: description of a family that the package does not know.
    Raises:
        TypeError: if an argument is of another kind.
        ValueError: if the architecture does not fit the backbone.
    """
    architecture = as_architecture(architecture)
    _check(config, dtype, "adamw", 0, 0.0, family)
    attached = fake_backbone(config, dtype, family).attach(architecture)
    try:
        return attached.merge().remaining
    finally:
        attached.detach()


def _check(
    config: PreTrainedConfig,
    dtype: torch.dtype,
    optimiser: str,
    outputs: int,
    dropout: float,
    family: Family | None,
) -> None:
    check_config(config)
    check_dtype(dtype)
    check_dropout(dropout)
    check_family(family)
    if optimiser not in OPTIMISER_STATES:
        raise ValueError(
            f"optimiser must be one of {', '.join(OPTIMISER_STATES)}, got {optimiser!r}; "
            f"{did_you_mean(optimiser, OPTIMISER_STATES)}"
        )
    if not isinstance(outputs, int) or outputs < 0:
        raise ValueError(f"outputs must be 0 (no head) or more, got {outputs!r}; take 0")


@functools.lru_cache(maxsize=8)
def _bare(backbone: FakeBackbone, batch: int, tokens: int) -> tuple[int, int | None, int]:
    """FLOP of a call and of a decoding step, and positions of a call, with nothing attached."""
    reads = Reads(batch, tokens)
    return (
        forward_flop(backbone, reads),
        decoding_flop(backbone, reads) if backbone.decodes else None,
        positions(backbone, reads),
    )


def _memory(
    backbone: FakeBackbone,
    attached: AttachedModules,
    trace: Trace,
    states: int,
    checkpointing: bool,
) -> TrainMemory:
    trained = list(attached.parameters())
    own = {id(parameter) for parameter in trained}
    rest = (*backbone.base.parameters(), *backbone.base.buffers(), *attached.buffers())
    head = 4 * trace.head_parameters
    trainable = _bytes(trained) + head
    return TrainMemory(
        weights=_bytes([tensor for tensor in rest if id(tensor) not in own])
        + trace.frozen_head_bytes,
        trainable=trainable,
        gradients=_bytes([one for one in trained if id(one) in trace.reached]) + head,
        optimiser=states * trainable,
        activations=trace.saved_checkpointed if checkpointing else trace.saved,
    )


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Of distinct tensors."""
    distinct = {id(tensor): tensor for tensor in tensors}
    return sum(tensor.numel() * tensor.itemsize for tensor in distinct.values())


def _itemsize(module: nn.Module) -> int:
    """Bytes of an element of a module's parameters."""
    first = next(module.parameters(), None)
    return 4 if first is None else first.itemsize
