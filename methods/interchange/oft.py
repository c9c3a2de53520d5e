"""OFT as HF peft holds it: rotations of one block width, or of one number of blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from peftnas.methods.attach import AttachedModules
from peftnas.methods.base import Rotation
from peftnas.methods.interchange.beside import with_norms_and_biases
from peftnas.methods.interchange.paths import (
    PREFIX,
    by_projection,
    one_each,
    pattern,
    refusal,
    task_type,
)
from peftnas.methods.oft import OFTRotation

if TYPE_CHECKING:
    from peft import PeftConfig


def to_peft(attached: AttachedModules) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The config and ``oft_R`` (n_in / b, b(b-1)/2).

    Raises:
        ValueError: if it acts at a part of a fused projection or at no ``nn.Linear``, or if both
            widths and numbers of blocks differ among the linears.
    """
    from peft import OFTConfig

    tensors: dict[str, Tensor] = {}
    paths: list[str] = []
    blocks: set[int] = set()
    counts: set[int] = set()
    projections = by_projection(attached, Rotation)
    for path, (_, _, module) in one_each(projections):
        assert isinstance(module, OFTRotation)
        paths.append(path)
        tensors[f"{PREFIX}{path}.oft_R.weight"] = module.upper
        blocks.add(module.placement.block)
        counts.add(len(module.upper))
    if len(blocks) > 1 and len(counts) > 1:
        raise refusal(
            projections[paths[0]][0][1],
            f"it takes one width of blocks for all linears, not {sorted(blocks)}",
        )
    config = OFTConfig(
        task_type=task_type(attached.base),
        inference_mode=True,
        target_modules=pattern(paths),
        # exactly one of the two may be given
        r=0 if len(blocks) == 1 else counts.pop(),
        oft_block_size=blocks.pop() if len(blocks) == 1 else 0,
        use_cayley_neumann=False,
    )
    return with_norms_and_biases(attached, config, tensors)
