"""How parameters are moved: AdamW, learning-rate schedule, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from peftnas.search.arms import recipe_values
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
        rates: parameters of the modules whose learning rate is so many times that of the others.
        arms: parameters of the modules with training settings of their method, which stand for
            fields of the recipe; ``rates`` multiply that learning rate.
    """

    def __init__(
        self,
        modules: Iterable[nn.Parameter],
        head: Iterable[nn.Parameter],
        recipe: Recipe,
        rates: Mapping[nn.Parameter, float] | None = None,
        arms: Mapping[nn.Parameter, Mapping[str, float]] | None = None,
    ) -> None:
        usual = _Pace(
            float(held(recipe.learning_rate)),
            float(held(recipe.warmup)),
            float(held(recipe.weight_decay)),
        )
        head_rate = held(recipe.head_learning_rate)
        of_head = usual if head_rate is None else replace(usual, learning_rate=float(head_rate))
        factors, own = rates or {}, arms or {}
        paced: dict[_Pace, list[nn.Parameter]] = {usual: []}
        at_head = list(head)
        for parameter in modules:
            pace = replace(usual, **recipe_values(own.get(parameter, {})))
            factor = factors.get(parameter, 1.0)
            pace = replace(pace, learning_rate=pace.learning_rate * factor)
            paced.setdefault(pace, []).append(parameter)
        plain = paced.pop(usual)
        by_pace = [(plain, usual), (at_head, of_head), *((p, pace) for pace, p in paced.items())]
        self.parameters = [parameter for parameters, _ in by_pace for parameter in parameters]
        groups = [
            group
            for parameters, pace in by_pace
            for group in _groups(parameters, pace)
            if group["params"]
        ]
        # a bare backbone with a head of its own has nothing to train
        self.optimiser = torch.optim.AdamW(groups, fused=True) if groups else None
        self.schedule = held(recipe.schedule)
        self.steps = held(recipe.steps)
        self.clip = float(held(recipe.clip_norm))

    def step(self, loss: Tensor, step: int) -> None:
        """One update from the gradient of ``loss``; ``step`` is 0-based."""
        if self.optimiser is None:
            return
        for group in self.optimiser.param_groups:
            factor = rate_factor(self.schedule, step, self.steps, group["warmup"])
            group["lr"] = group["highest"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()

    def state(self) -> dict[str, Tensor]:
        """What the optimiser remembers of each parameter that had a gradient: ``3.exp_avg``."""
        if self.optimiser is None:
            return {}
        return {
            f"{number}.{name}": value
            for number, kept in self.optimiser.state_dict()["state"].items()
            for name, value in kept.items()
        }

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Whether it may be what :meth:`state` gave for these parameters."""
        groups = [] if self.optimiser is None else self.optimiser.param_groups
        shapes = [parameter.shape for group in groups for parameter in group["params"]]
        numbers = [int(path.split(".")[0]) for path in state]
        return all(
            number < len(shapes) and value.shape in (shapes[number], torch.Size())
            for number, value in zip(numbers, state.values(), strict=True)
        )

    def go_on(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave, of the same parameters in the same order."""
        if self.optimiser is None:
            return
        kept: dict[int, dict[str, Tensor]] = {}
        for path, value in state.items():
            number, name = path.split(".")
            kept.setdefault(int(number), {})[name] = value
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": kept, "param_groups": groups})


def evaluation_steps(steps: int, evaluations: int) -> Sequence[int]:
    """After which steps (1-based) to evaluate: evenly spaced, the last at the end."""
    count = min(steps, evaluations)
    return [round(steps * (number + 1) / count) for number in range(count)]


@dataclass(frozen=True)
class _Pace:
    """How some parameters move; see the recipe's fields of the same names."""

    learning_rate: float
    warmup: float
    weight_decay: float


def _groups(parameters: Sequence[nn.Parameter], pace: _Pace) -> list[dict[str, Any]]:
    """Matrices, which decay, and vectors, which do not."""
    shared = {"highest": pace.learning_rate, "warmup": pace.warmup}
    matrices = [parameter for parameter in parameters if parameter.dim() > 1]
    vectors = [parameter for parameter in parameters if parameter.dim() <= 1]
    return [
        {"params": matrices, "weight_decay": pace.weight_decay, **shared},
        {"params": vectors, "weight_decay": 0.0, **shared},
    ]
