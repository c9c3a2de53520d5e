"""LoHa and LoKr as HF peft holds them: products of small matrices, at plain linears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import LinearDelta
from peftnas.methods.interchange.beside import with_norms_and_biases
from peftnas.methods.interchange.paths import (
    PREFIX,
    by_projection,
    one_each,
    pattern,
    patterns,
    refusal,
    task_type,
    tidy,
    widened,
)
from peftnas.methods.loha import LoHaDelta
from peftnas.methods.lokr import LoKr, LoKrDelta, LoKrPlacement
from peftnas.spaces.fields import held

if TYPE_CHECKING:
    from peft import PeftConfig

NAMES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


def loha_to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``hada_w1_a`` (n_out, r), ``hada_w1_b`` (r, n_in), the same of ``w2``.

    Those of the linears of a fused projection become one of the sum of their ranks, with zeros at
    the outputs of the others.

    Raises:
        ValueError: if two act at one linear, or it is no ``nn.Linear``.
    """
    from peft import LoHaConfig

    found: dict[str, list[LoHaDelta]] = {}
    wide: dict[str, list[tuple[Tensor, ...]]] = {}
    for path, (site, _, module) in one_each(by_projection(attached, LinearDelta), fused=True):
        assert isinstance(module, LoHaDelta)
        found.setdefault(path, []).append(module)
        up = (widened(module.B1, site), widened(module.B2, site))
        wide.setdefault(path, []).append((up[0], module.A1, up[1], module.A2))
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for path, modules in found.items():
        scales = {module.placement.scale for module in modules}
        scale = scales.pop() if len(scales) == 1 else 1.0
        inner = [
            (b1 if module.placement.scale == scale else module.placement.scale * b1, *others)
            for module, (b1, *others) in zip(modules, wide[path], strict=True)
        ]
        for number, name in enumerate(NAMES):
            whole = torch.cat([matrices[number] for matrices in inner], dim=(number + 1) % 2)
            tensors[f"{PREFIX}{path}.{name}"] = whole
        ranks[path] = sum(module.placement.rank for module in modules)
        alphas[path] = tidy(scale * ranks[path])
    config = LoHaConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(ranks),
        **patterns(ranks, alphas),
    )
    return with_norms_and_biases(attached, config, tensors)


def lokr_to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``lokr_w1`` (a, c), with ``lokr_w2`` (b, e) or its two factors.

    Raises:
        ValueError: if two act at one linear, it is no ``nn.Linear`` or a part of one, or peft
            would split the sizes of these linears in another way.
    """
    from peft import LoKrConfig

    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    placements: list[LoKrPlacement] = []
    for path, (_, _, module) in one_each(by_projection(attached, LinearDelta)):
        assert isinstance(module, LoKrDelta)
        here = module.placement
        placements.append(here)
        names = ("lokr_w2",) if here.rank is None else ("lokr_w2_a", "lokr_w2_b")
        tensors[f"{PREFIX}{path}.lokr_w1"] = module.C
        for name, matrix in zip(names, module.D, strict=True):
            tensors[f"{PREFIX}{path}.{name}"] = matrix
        # from half the larger side on, peft takes a full matrix too
        ranks[path] = max(here.inner) if here.rank is None else here.rank
        alphas[path] = tidy(here.scale * ranks[path])
    config = LoKrConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(ranks),
        decompose_both=False,
        decompose_factor=_factor(attached, placements),
        **patterns(ranks, alphas),
    )
    return with_norms_and_biases(attached, config, tensors)


def _factor(attached: AttachedModules, placements: list[LoKrPlacement]) -> int:
    """The one factor by which peft splits the sizes of all linears as they are split here."""
    from peft.tuners.lokr.layer import factorization

    named = [held(m.factor) for m in attached.architecture.methods if isinstance(m, LoKr)]
    for factor in dict.fromkeys(-1 if value is None else value for value in named):
        for here in placements:
            # n_out = a * b and n_in = c * e
            sides = zip(here.outer, here.inner, strict=True)
            if any(factorization(a * b, factor) != (a, b) for a, b in sides):
                break
        else:
            return factor
    raise refusal(placements[0], "it splits the sizes of all linears by one and the same factor")
