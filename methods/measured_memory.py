"""The peak memory of real training steps on a GPU, to hold predictions against."""

from __future__ import annotations

import torch
from transformers import PreTrainedModel

from peftnas.methods.attach import attach
from peftnas.methods.reads import Reads, answer_of, inputs_for
from peftnas.spaces.architecture import Architecture


def measured_train_memory(
    model: PreTrainedModel, architecture: Architecture, reads: Reads, *, steps: int = 3
) -> int:
    """Most bytes that tensors held on the GPU in a training step with AdamW, without a head.

    All that lies on the GPU counts, so nothing else than the model should. The model is afterwards
    as it was. Methods with nothing to train have no such step.

    Args:
        model: a model on a GPU, in eval mode.
        architecture: attached for the measurement.
        reads: what the model is called with.
        steps: that are run; the last one is measured, when the optimiser has its state.
    Raises:
        ValueError: if the model does not lie on a GPU, or ``steps`` is less than 2.
    """
    device = model.device
    if device.type != "cuda":
        raise ValueError(
            f"memory is measured on a GPU, this model lies on {device}; move it with "
            "model.to('cuda'), or predict it with peftnas.methods.costs"
        )
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}; the first makes the state")
    attached = attach(model, architecture)
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    inputs = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in inputs_for(base, attached.anatomy, reads).items()
    }
    try:
        optimiser = torch.optim.AdamW(attached.parameters(), lr=1e-6)
        for _ in range(steps):
            torch.cuda.reset_peak_memory_stats(device)
            # a sum saves nothing
            answer_of(base(**inputs)).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            # only now: the gradients of a step are part of its peak
            peak = torch.cuda.max_memory_allocated(device)
            optimiser.zero_grad()
    finally:
        attached.detach()
    return peak
