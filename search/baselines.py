"""Baselines: what people do today, trained once under the study's recipe and not tuned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

from peftnas.search.constraints import Constraint
from peftnas.search.plans import Plan
from peftnas.search.predictions import Predicts
from peftnas.search.recipe import Recipe
from peftnas.search.seeds import derive_seed
from peftnas.spaces import Architecture
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import default_of, settings
from peftnas.spaces.tree_nodes import leaves

if TYPE_CHECKING:
    from peftnas.methods.base import Method
    from peftnas.spaces.bound_space import BoundSpace

# weights, gradients and two moments of AdamW, four bytes each
_BYTES_A_PARAMETER = 16


@dataclass(frozen=True)
class Baseline:
    """One architecture that everybody knows.

    Attributes:
        name: as tables show it.
        learning_rate: taken where the study searches learning rates, in its recipe or for methods.
    """

    name: str
    learning_rate: float


# constants that suit trials of some tens to some hundreds of steps
HEAD_ONLY = Baseline("head only", 1e-2)
LORA = Baseline("LoRA r=8 on query and value", 5e-3)
BITFIT = Baseline("BitFit", 5e-3)
FULL = Baseline("full fine-tuning", 3e-4)

BASELINES = (HEAD_ONLY, LORA, BITFIT, FULL)


def baseline_recipe(recipe: Recipe, baseline: Baseline, by_method: bool = False) -> Recipe:
    """The study's recipe with a constant where it holds a domain.

    The learning rate takes the baseline's own, every other field its default.

    Args:
        recipe: of the study.
        baseline: one of ``BASELINES``.
        by_method: whether methods of the space search learning rates of their own: that of the
            recipe, which none of them reads, need not suit a baseline then.
    """
    constants: dict[str, Any] = {}
    for name in settings(Recipe):
        if isinstance(getattr(recipe, name), Domain):
            constants[name] = default_of(Recipe, name)
            if name == "learning_rate":
                constants[name] = baseline.learning_rate
    if by_method:
        constants["learning_rate"] = baseline.learning_rate
    return recipe.replace(**constants)


def _searches_rates(bound: BoundSpace) -> bool:
    found = (getattr(leaf.method, "learning_rate", None) for leaf in leaves(bound.nodes))
    return any(isinstance(rate, Domain) for rate in found)


def plan_baseline(
    baseline: Baseline,
    bound: BoundSpace,
    recipe: Recipe,
    study_seed: int,
    predictions: Predicts | None = None,
    constraints: Sequence[Constraint] = (),
) -> Plan | str:
    """What to train for a baseline, or the reason why it does not apply to this backbone.

    Args:
        baseline: one of ``BASELINES``.
        bound: the space on the backbone.
        recipe: of the study.
        study_seed: of the study.
        predictions: of what it will take; it has to fit the machine and the constraints.
        constraints: of the study; those on predicted memory count.
    """
    if baseline is FULL and (reason := _does_not_fit(bound.anatomy.backbone_parameters)):
        return reason
    recipe = baseline_recipe(recipe, baseline, _searches_rates(bound))
    try:
        methods = _methods(baseline, bound.anatomy, pooler=recipe.pooling == "native")
        architecture = bound.canonical(Architecture(*methods))
    except ValueError as error:
        return f"does not apply to this backbone: {error}"
    if baseline is not HEAD_ONLY and bound.count(architecture) == 0:
        return f"does not apply to this backbone: it has nothing that {baseline.name} trains"
    if predictions is not None:
        needed = predictions.train_memory_bytes(architecture, recipe)
        if reason := _over_memory(needed, constraints):
            return reason
    train_key = bound.train_key(architecture)
    values = recipe.to_dict()
    seed = derive_seed(study_seed, train_key, values)
    words = architecture.words()
    return Plan(architecture.to_dict(), values, train_key, seed, words, baseline.name)


def _methods(baseline: Baseline, anatomy: Any, *, pooler: bool) -> tuple[Method, ...]:
    """The baseline's methods; only a native head reads the backbone's pooler."""
    from peftnas.methods import BitFit, FullFineTuning, LoRA

    if baseline is LORA:
        return (LoRA(rank=8, targets=("query", "value")),)
    if baseline is BITFIT:
        targets = BitFit().named_targets(anatomy)
        return (BitFit(targets=tuple(t for t in targets if pooler or t != "pooler")),)
    if baseline is FULL:
        return (FullFineTuning(),)
    return ()


def _does_not_fit(parameters: int) -> str | None:
    needed, free = _BYTES_A_PARAMETER * parameters, free_memory()
    if needed <= free:
        return None
    return (
        f"does not fit: needs about {needed / 1e9:.1f} GB for weights, gradients and moments, "
        f"{free / 1e9:.1f} GB are free"
    )


def _over_memory(needed: int, constraints: Sequence[Constraint]) -> str | None:
    """Why a training that is predicted to take so many bytes is left out."""
    for constraint in constraints:
        if constraint.predicted:
            broken = constraint.broken({constraint.name: needed}, "is predicted to be")
            if broken is not None:
                return f"does not fit: {broken}"
    free = free_memory()
    if needed <= free:
        return None
    return (
        f"does not fit: a training step is predicted to take {needed / 1e9:.1f} GB, "
        f"{free / 1e9:.1f} GB are free"
    )


def free_memory() -> int:
    """Bytes that a trial can take here: of the GPU where there is one, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().available)
