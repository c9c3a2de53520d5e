"""The peak memory of real training steps, to hold predictions against."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftnas.methods.attach import AttachedModules, attach
from peftnas.methods.reads import Reads, answer_of, inputs_for
from peftnas.methods.saved_tensors import SavedTensors
from peftnas.spaces.architecture import Architecture


def measured_train_memory(
    model: PreTrainedModel, architecture: Architecture, reads: Reads, *, steps: int = 3
) -> int:
    """Most bytes that a training step with AdamW holds, without a head.

    On a GPU the peak of what is allocated: all that lies there counts, so nothing else than the
    model should. On a CPU, where the allocator does not tell, the state (weights, gradients, what
    the optimiser keeps) and the tensors that autograd saves: the same figure in every run, without
    workspace of kernels. The model is afterwards as it was. Methods with nothing to train have no
    such step.

    Args:
        model: in eval mode, on a CPU or a CUDA GPU.
        architecture: attached for the measurement.
        reads: what the model is called with.
        steps: that are run; the peak of them all, since modules may draw how much they compute.
    Raises:
        ValueError: if the model lies elsewhere, or ``steps`` is less than 1.
    """
    device = model.device
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"memory is measured on a CPU or a CUDA GPU, this model lies on {device}; move it "
            "with model.to('cpu'), or predict it with peftnas.methods.costs"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}; take 3")
    attached = attach(model, architecture)
    base = model.base_model
    assert isinstance(base, PreTrainedModel)
    inputs = {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in inputs_for(base, attached.anatomy, reads).items()
    }
    try:
        optimiser = torch.optim.AdamW(attached.parameters(), lr=1e-6)
        _make_state(optimiser)
        peak = 0
        for step in range(steps):
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            attached.steps.begin(step, steps)
            saved = SavedTensors(owned_by(base, attached), backward=True)
            with saved:
                objective = _objective(base, attached, inputs)
            objective.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            attached.steps.end(step, steps)
            # only now: the gradients of a step are part of its peak
            if device.type == "cuda":
                held = torch.cuda.max_memory_allocated(device)
            else:
                held = saved.bytes + state_bytes(owned_by(base, attached), optimiser)
            peak = max(peak, held)
            del saved, objective
            optimiser.zero_grad()
    finally:
        attached.detach()
    return peak


def _make_state(optimiser: torch.optim.Optimizer) -> None:
    """The state as it is late in a training, when all that is drawn at random had its turn."""
    parameters = [part for group in optimiser.param_groups for part in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    optimiser.zero_grad()


def _objective(
    base: PreTrainedModel, attached: AttachedModules, inputs: dict[str, object]
) -> Tensor:
    """What a step minimises, with everything that modules ask for; a sum saves nothing."""
    total = answer_of(base(**inputs)).sum()
    if attached.steps.wants_two_passes:
        total = total + answer_of(base(**inputs)).sum()
    penalty = attached.steps.penalty()
    return total if penalty is None else total + penalty


def owned_by(*owners: nn.Module) -> list[Tensor]:
    """All parameters and buffers of some modules, each once."""
    found = (part for one in owners for part in (*one.parameters(), *one.buffers()))
    return list({id(part): part for part in found}.values())


def state_bytes(owned: Iterable[Tensor], optimiser: torch.optim.Optimizer | None) -> int:
    """Bytes that lie there between two training steps: tensors, gradients, the optimiser's state.

    Args:
        owned: parameters and buffers of everything that takes part, each once.
        optimiser: its gradients and its state count; ``None``: there is none.
    """
    held = list(owned)
    gradients = [part.grad for part in held if part.grad is not None]
    kept = [
        value
        for state in (optimiser.state.values() if optimiser is not None else ())
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    return sum(part.numel() * part.itemsize for part in (*held, *gradients, *kept))
