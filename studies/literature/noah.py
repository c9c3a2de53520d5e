"""NOAH: prompts, LoRA and adapters of an image model, each in the first k layers, sizes by layer.

    SearchSpace
    |- vpt          length by layer in SIZES        -+
    |- lora         rank by layer in SIZES           +- each in the first 3, 6, 9 or 12 layers
    `- adapter      bottleneck by layer in SIZES    -+

    few-shot: SIZES = 5, 10, 50, 100;   VTAB: SIZES = 1, 5, 10

Source: Zhang et al. 2206.04673; the code released with it.

Published (ViT-B, 12 layers): few-shot (4^3 + 4^6 + 4^9 + 4^12)^3 = 4950828515936862208000, VTAB
(3^3 + 3^6 + 3^9 + 3^12)^3 = 551,880^3. Found there by evolution in a supernet, under a limit of
parameters.

Differences to the paper:
- its LoRA is one pair of matrices for query, key and value together; here each of the three has
  its own, with three times the down projections.
- its prompts come last in the sequence and have positions of their own; here they follow the class
  token, without positions. Attention does not see the order of tokens.
- its adapter has the activation x * sigmoid(1.702 x); here it is gelu, which that approximates.

The default backbone reads texts and has six layers: 3 or 6 of them there.

    peftnas run studies/literature/noah.py --trials 200
"""

from __future__ import annotations

from collections.abc import Sequence

from peftnas.methods import VPT, Adapter, LoRA
from peftnas.spaces.domains import Choice
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import PerLayer
from peftnas.studies.literature.on_default import study_on_default

FEW_SHOT = (5, 10, 50, 100)
VTAB = (1, 5, 10)
DEPTHS = (3, 6, 9, 12)


def noah(
    sizes: Sequence[int],
    depths: Sequence[int] = DEPTHS,
    budget: int | str | None = None,
) -> SearchSpace:
    """The space of a backbone of one stack.

    Args:
        sizes: that a module can have in a layer.
        depths: how many of the lowest layers can have it.
        budget: most trainable parameters.
    """
    size = PerLayer(Choice(*sizes))
    layers = Choice(*(tuple(range(depth)) for depth in depths))
    return SearchSpace(
        VPT(length=size, layers=layers),
        LoRA(rank=size, targets=("query", "key", "value"), layers=layers),
        Adapter(placement="houlsby", bottleneck=size, activation="gelu", layers=layers),
        max_parameters=budget,
    )


space = noah(FEW_SHOT)
study = study_on_default("noah", noah(VTAB, depths=(3, 6)))
