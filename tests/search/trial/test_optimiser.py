"""Learning: loss, learning rate over the steps, weight decay, clipping."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from peftnas.search.recipe import Recipe
from peftnas.search.trial.losses import loss_of
from peftnas.search.trial.optimiser import Learner, evaluation_steps, rate_factor


def test_classes_have_cross_entropy_and_targets_squared_error() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert loss_of(logits, torch.tensor([0, 1])).item() == pytest.approx(math.log(2))
    assert loss_of(torch.tensor([[1.0], [3.0]]), torch.tensor([0.0, 1.0])).item() == 2.5


@given(
    schedule=st.sampled_from(["linear", "cosine", "constant"]),
    steps=st.integers(1, 300),
    warmup=st.floats(0, 1),
)
def test_the_rate_rises_then_falls_and_never_reaches_zero(
    schedule: str, steps: int, warmup: float
) -> None:
    rates = [rate_factor(schedule, step, steps, warmup) for step in range(steps)]
    rising = round(steps * warmup)
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:rising] == sorted(rates[:rising])
    assert rates[rising:] == sorted(rates[rising:], reverse=True)
    assert max(rates) == 1.0


def test_schedules_end_near_zero_or_stay() -> None:
    assert rate_factor("linear", 99, 100, 0.0) == pytest.approx(0.01)
    assert rate_factor("cosine", 50, 100, 0.0) == pytest.approx(0.5)
    assert rate_factor("constant", 99, 100, 0.5) == 1.0


def test_only_matrices_decay() -> None:
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    recipe = Recipe(learning_rate=0.1, weight_decay=0.5, schedule="constant", warmup=0.0)
    learner = Learner([matrix, vector], [], recipe)
    learner.step(0.0 * (matrix.sum() + vector.sum()), 0)
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), 0.95))
    assert torch.equal(vector.detach(), torch.ones(2))


@pytest.mark.parametrize(("head_rate", "moved"), [(None, 0.1), (0.3, 0.3)])
def test_the_head_has_the_rate_of_the_modules_or_its_own(
    head_rate: float | None, moved: float
) -> None:
    module, head = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
    recipe = Recipe(learning_rate=0.1, head_learning_rate=head_rate, schedule="linear", warmup=0.0)
    learner = Learner([module], [head], recipe)
    learner.step(module.sum() + head.sum(), 0)
    # the first step of Adam moves everything by the rate
    torch.testing.assert_close(module.detach(), torch.full((2, 2), -0.1))
    torch.testing.assert_close(head.detach(), torch.full((2, 2), -moved))
    half = recipe.replace(steps=2)
    learner = Learner([module], [head], half)
    learner.step(0.0 * (module.sum() + head.sum()), 1)
    assert [group["lr"] for group in learner.optimiser.param_groups] == [0.05, moved / 2]


@pytest.mark.parametrize(("clip", "norm"), [(0.5, 0.5), (0.0, 20.0)])
def test_the_gradient_is_clipped(clip: float, norm: float) -> None:
    matrix = nn.Parameter(torch.ones(2, 2))
    Learner([matrix], [], Recipe(clip_norm=clip)).step(10 * matrix.sum(), 0)
    assert matrix.grad is not None
    assert matrix.grad.norm().item() == pytest.approx(norm)


@given(steps=st.integers(1, 500), evaluations=st.integers(1, 20))
def test_evaluations_are_evenly_spaced_and_end_at_the_end(steps: int, evaluations: int) -> None:
    found = evaluation_steps(steps, evaluations)
    gaps = [b - a for a, b in zip([0, *found], found, strict=False)]
    assert found[-1] == steps
    assert len(found) == min(steps, evaluations)
    assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


def parameters_of(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(4, 3), (3,), (2, 4)]
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def gradients(step: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return [torch.randn(shape, generator=generator) for shape in [(4, 3), (3,), (2, 4)]]


def test_methods_with_their_own_settings_move_as_alone() -> None:
    """Each step equals that of an AdamW for each method, and the recipe's for the others."""
    steps = 8
    recipe = Recipe(learning_rate=0.02, weight_decay=0.1, warmup=0.25, steps=steps, clip_norm=0.0)
    arms = [
        {},
        {"learning_rate": 0.3, "rate_warmup": 0.0},
        {"learning_rate": 0.001, "weight_decay": 0.0, "rate_warmup": 0.5},
        {"weight_decay": 0.5},
    ]
    methods = [parameters_of(seed) for seed in range(len(arms))]
    head = parameters_of(9)
    own = {p: arm for arm, method in zip(arms, methods, strict=True) for p in method if arm}
    learner = Learner([p for method in methods for p in method], head, recipe, {}, own)
    alone = [parameters_of(seed) for seed in range(len(arms))] + [parameters_of(9)]
    optimisers = []
    for arm, copies in zip([*arms, {}], alone, strict=True):
        decay = arm.get("weight_decay", 0.1)
        matrices, vectors = [copies[0], copies[2]], [copies[1]]
        groups = [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        optimisers.append(torch.optim.AdamW(groups, fused=True))
    for step in range(steps):
        moved = [*methods, head]
        loss = sum(
            (p * g).sum() for some in moved for p, g in zip(some, gradients(step), strict=True)
        )
        learner.step(loss, step)
        for arm, copies, optimiser in zip([*arms, {}], alone, optimisers, strict=True):
            factor = rate_factor("linear", step, steps, arm.get("rate_warmup", 0.25))
            for group in optimiser.param_groups:
                group["lr"] = arm.get("learning_rate", 0.02) * factor
            for copy, gradient in zip(copies, gradients(step), strict=True):
                copy.grad = gradient
            optimiser.step()
        for some, copies in zip(moved, alone, strict=True):
            for parameter, copy in zip(some, copies, strict=True):
                assert torch.equal(parameter, copy)


def test_another_rate_within_a_method_multiplies_its_own() -> None:
    a, b = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2, 2))
    recipe = Recipe(learning_rate=0.01, steps=1, warmup=0.0, clip_norm=0.0)
    own = {"learning_rate": 0.1}
    Learner([a, b], [], recipe, {b: 4.0}, {a: own, b: own}).step(a.sum() + b.sum(), 0)
    torch.testing.assert_close(a.detach(), torch.full((2, 2), -0.1))
    torch.testing.assert_close(b.detach(), torch.full((2, 2), -0.4))


def test_a_parameter_may_have_another_rate() -> None:
    """LoRA+: B moves b_rate times as far as A in the first step of Adam."""
    moved = {}
    for b_rate in (1.0, 4.0):
        a, b = (torch.nn.Parameter(torch.ones(3, 3)) for _ in range(2))
        recipe = Recipe(learning_rate=0.01, steps=1, weight_decay=0.0, warmup=0.0, clip_norm=0.0)
        learner = Learner([a, b], [], recipe, {b: b_rate})
        learner.step((a.sum() + b.sum()), 0)
        moved[b_rate] = float((1 - a).mean().detach()), float((1 - b).mean().detach())
    assert moved[1.0] == pytest.approx((0.01, 0.01), rel=1e-3)
    assert moved[4.0] == pytest.approx((0.01, 0.04), rel=1e-3)
