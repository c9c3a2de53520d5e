"""Biases alone: vectors at linears (peft's BEFT), and norms as LN-tuning has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.interchange import whole
from peftnas.methods.interchange.beside import linear_biases, with_norms_and_biases
from peftnas.methods.interchange.paths import NO_CONV, PREFIX, pattern, refusal, task_type

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``beft_bias`` (1, n_out) of linears; of norms all values.

    Raises:
        ValueError: if a linear is no ``nn.Linear``.
    """
    from peft import BeftConfig

    added: dict[str, Tensor] = {}
    for site, placement, value in linear_biases(attached):
        if site.transposed:
            raise refusal(placement, NO_CONV, site.address)
        added[site.path] = added[site.path] + value if site.path in added else value
    if not added:
        return whole.to_peft(attached)
    config = BeftConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(added),
    )
    tensors = {f"{PREFIX}{path}.beft_bias": value[None] for path, value in added.items()}
    return with_norms_and_biases(attached, config, tensors, held=added)
