"""How parameters are moved: AdamW, learning-rate schedule, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peftnas.search.recipe import Recipe
from peftnas.spaces.fields import held


def rate_factor(schedule: str, step: int, steps: int, warmup: float) -> float:
    """What the learning rate is multiplied with in one step; in (0, 1].

    Args:
        schedule: "linear" or "cosine", both towards 0 after the last step, or "constant".
        step: number of the step, 0-based.
        steps: number of all steps.
        warmup: part of the steps in which the rate rises linearly.
    """
    rising = round(steps * warmup)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if schedule == "linear":
        return 1.0 - done
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * done))
    return 1.0


class Learner:
    """AdamW over some parameters, one call a step.

    Args:
        modules: what is trained of the backbone or attached to it.
        head: what is trained of the head; it may have a learning rate of its own.
        recipe: a recipe that holds values.
        rates: parameters of the modules whose learning rate is so many times that of the recipe.
    """

    def __init__(
        self,
        modules: Iterable[nn.Parameter],
        head: Iterable[nn.Parameter],
        recipe: Recipe,
        rates: Mapping[nn.Parameter, float] | None = None,
    ) -> None:
        rate, head_rate = held(recipe.learning_rate), held(recipe.head_learning_rate)
        decay = float(held(recipe.weight_decay))
        factors, named = rates or {}, list(modules)
        plain = [parameter for parameter in named if parameter not in factors]
        by_rate = [(plain, rate), (list(head), rate if head_rate is None else head_rate)]
        by_rate += [([p], rate * factors[p]) for p in named if p in factors]
        self.parameters = [parameter for parameters, _ in by_rate for parameter in parameters]
        groups = [
            group
            for parameters, highest in by_rate
            for group in _groups(parameters, float(highest), decay)
            if group["params"]
        ]
        # a bare backbone with a head of its own has nothing to train
        self.optimiser = torch.optim.AdamW(groups, fused=True) if groups else None
        self.schedule = held(recipe.schedule)
        self.steps = held(recipe.steps)
        self.warmup = float(held(recipe.warmup))
        self.clip = float(held(recipe.clip_norm))

    def step(self, loss: Tensor, step: int) -> None:
        """One update from the gradient of ``loss``; ``step`` is 0-based."""
        if self.optimiser is None:
            return
        factor = rate_factor(self.schedule, step, self.steps, self.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = group["highest"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()


def evaluation_steps(steps: int, evaluations: int) -> Sequence[int]:
    """After which steps (1-based) to evaluate: evenly spaced, the last at the end."""
    count = min(steps, evaluations)
    return [round(steps * (number + 1) / count) for number in range(count)]


def _groups(parameters: Sequence[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
    """Matrices, which decay, and vectors, which do not."""
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    vectors = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [
        {"params": matrices, "weight_decay": decay, "highest": rate},
        {"params": vectors, "weight_decay": 0.0, "highest": rate},
    ]
