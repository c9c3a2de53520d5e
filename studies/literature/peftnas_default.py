"""The space for those who have no space in mind: each family of methods, in sizes that work.

    SearchSpace          not the bare head; at most 2 % of the backbone
    |- one of or none    sizes by lower, middle and upper layers; 0 leaves these out
    |  |- lora           rank 0, 2, 4, 8, 16, 32; linears of attention, of the FFN, or all
    |  `- dora           the same
    |- adapter?          serial or parallel, at the FFN; bottleneck 0, 8, 16, 32, 64
    |- prefix?           length 2 .. 32
    |- ia3?
    `- bitfit or ln_tuning?

Not of the literature. What others found is in it: middle layers and early ones are worth
different sizes (S4, NAS_for_PEFT), kinds of modules complete each other (UniPELT, AutoPEFT),
biases and norms cost next to nothing. What costs the most time to train, a module in the lowest
layers, can be left out. Not in it are methods that are another one after training, or that make a
step slower without a size to choose.

It fits every backbone with attention and FFN that has three layers or more; where linears have no
biases BitFit adds them. It is small enough to be counted exactly and drawn uniformly.

    peftnas run studies/literature/peftnas_default.py --trials 100
"""

from __future__ import annotations

from typing import Any

from peftnas.methods import IA3, Adapter, BitFit, DoRA, LNTuning, LoRA, Prefix
from peftnas.spaces.domains import Choice, Integer
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe, PerGroup
from peftnas.studies.literature.on_default import study_on_default

ATTENTION = ("query", "key", "value", "output")
FFN = ("up", "down")
PARTS = 3
"""Groups of layers that have sizes of their own."""


def peftnas_default(budget: int | str | None = "2%") -> SearchSpace:
    """The space.

    A learning rate of each method belongs into its line below, once methods can hold one.

    Args:
        budget: most trainable parameters; ``None``: no limit.
    """
    ranks: Any = PerGroup(PARTS, Choice(0, 2, 4, 8, 16, 32))
    widths: Any = PerGroup(PARTS, Choice(0, 8, 16, 32, 64))
    targets: Any = Choice(ATTENTION, FFN, (*ATTENTION, *FFN))
    return SearchSpace(
        Choice(None, LoRA(rank=ranks, targets=targets), DoRA(rank=ranks, targets=targets)),
        Maybe(Adapter(insertion=Choice("serial", "parallel"), bottleneck=widths)),
        Maybe(Prefix(length=Integer(2, 32, log=True))),
        Maybe(IA3()),
        Choice(None, BitFit(targets=("query", "value", "output", *FFN), add=True), LNTuning()),
        max_parameters=budget,
        at_least_one_method=True,
    )


space = peftnas_default()
study = study_on_default("default", space)
