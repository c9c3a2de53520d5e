"""The space for those who have no space in mind: each family of methods, in sizes that work.

    SearchSpace          not the bare head; at most 2 % of the backbone
    |- one of or none    sizes by lower, middle and upper layers; 0 leaves these out
    |  |- lora           rank 0, 2, 4, 8, 16, 32; linears of attention, of the FFN, or all
    |  `- dora           the same
    |- adapter?          serial or parallel, at the FFN; bottleneck 0, 8, 16, 32, 64
    |- prefix?           length 2 .. 32
    |- ia3?
    `- bitfit or ln_tuning?

Each method has a learning rate of its own: 0.0005 to 0.02 where it trains matrices (lora, dora,
adapter), 0.002 to 0.05 where it trains vectors (prefix, ia3, bitfit, ln_tuning), which bear more.

Not of the literature. What others found is in it: middle layers and early ones are worth
different sizes (S4, NAS_for_PEFT), kinds of modules complete each other (UniPELT, AutoPEFT),
biases and norms cost next to nothing. What costs the most time to train, a module in the lowest
layers, can be left out. Not in it are methods that are another one after training, or that make a
step slower without a size to choose.

It fits backbones with attention and FFN that have three layers or more in a stack, with weights of
their own; where linears have no biases BitFit adds them. It does not fit albert, whose layers
share theirs, nor deberta-v2, whose attention takes no prefix. It is small enough to be counted
exactly and drawn uniformly.

    peftnas run studies/literature/peftnas_default.py --trials 100
"""

from __future__ import annotations

from typing import Any

from peftnas.methods import IA3, Adapter, BitFit, DoRA, LNTuning, LoRA, Prefix
from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe, PerGroup
from peftnas.studies.literature.on_default import study_on_default

ATTENTION = ("query", "key", "value", "output")
FFN = ("up", "down")
OF_MATRICES = Real(5e-4, 2e-2, log=True)
OF_VECTORS = Real(2e-3, 5e-2, log=True)
PARTS = 3
"""Groups of layers that have sizes of their own."""


def peftnas_default(budget: int | str | None = "2%") -> SearchSpace:
    """The space.

    Args:
        budget: most trainable parameters; ``None``: no limit.
    """
    ranks: Any = PerGroup(PARTS, Choice(0, 2, 4, 8, 16, 32))
    widths: Any = PerGroup(PARTS, Choice(0, 8, 16, 32, 64))
    targets: Any = Choice(ATTENTION, FFN, (*ATTENTION, *FFN))
    low_rank: Any = {"rank": ranks, "targets": targets, "learning_rate": OF_MATRICES}
    biases = ("query", "value", "output", *FFN)
    return SearchSpace(
        Choice(None, LoRA(**low_rank), DoRA(**low_rank)),
        Maybe(
            Adapter(
                insertion=Choice("serial", "parallel"),
                bottleneck=widths,
                learning_rate=OF_MATRICES,
            )
        ),
        Maybe(Prefix(length=Integer(2, 32, log=True), learning_rate=OF_VECTORS)),
        Maybe(IA3(learning_rate=OF_VECTORS)),
        Choice(
            None,
            BitFit(targets=biases, add=True, learning_rate=OF_VECTORS),
            LNTuning(learning_rate=OF_VECTORS),
        ),
        max_parameters=budget,
        at_least_one_method=True,
    )


space = peftnas_default()
# each method has its own rate and the head another: nothing reads the recipe's
study = study_on_default("default", space, learning_rate=5e-3)
