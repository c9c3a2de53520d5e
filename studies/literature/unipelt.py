"""UniPELT: any of prefix, adapter, LoRA and BitFit, with a gate on each, or one between two.

    SearchSpace ("unipelt")
    |- prefix?      length 10, 50, 100 or 200, network of width 512; gate or none; without the
    |               lowest n layers, n = 0 .. L - 1
    |- adapter?     serial (pfeiffer), bottleneck 48; gate or none
    |- lora?        rank 8 at query and value; gate or none
    `- bitfit?

    SearchSpace ("central")
    |- prefix and lora behind one gate, which divides one between them; length and n as above
    |- adapter?     as above
    `- bitfit?

Source: Mao et al. 2110.07577; the code released with it, whose flags these are.

Published: no search and no count, but 16 sets of modules and a grid over some of them; the paper
recommends adapter + prefix and all three, gated. With L layers the flags are (1 + 4 * L * 2) * 3 *
3 * 2 points, 1,746 on bert-base; behind the central gate 4 * L * 3 * 2 more, 288.

Differences to the paper:
- the code can drop the prefix in all layers too, which is no prefix.
- its gates take their mean over padding too; here over real tokens.
- alpha is 16 without a gate, as there; behind a gate it has no effect.

The default backbone has six layers of width 384: "unipelt" there, with the bottleneck 24.

    peftnas run studies/literature/unipelt.py --trials 100
"""

from __future__ import annotations

from collections.abc import Sequence

from peftnas.methods import Adapter, BitFit, GatedLoRAPrefix, LoRA, Prefix
from peftnas.spaces.domains import Choice
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe
from peftnas.studies.literature.on_default import LAYERS, study_on_default

LENGTHS = (10, 50, 100, 200)
GATE = Choice(None, "unipelt")


def unipelt(
    n_layers: int, lengths: Sequence[int] = LENGTHS, bottleneck: int = 48, mlp: int = 512
) -> SearchSpace:
    """Each module with its own gate, or without.

    Args:
        n_layers: layers of the backbone.
        lengths: of the prefix.
        bottleneck: of the adapter: a sixteenth of the width.
        mlp: hidden width of the prefix's network.
    """
    return SearchSpace(
        Maybe(
            Prefix(length=Choice(*lengths), mlp=mlp, layers=_without_lowest(n_layers), gate=GATE)
        ),
        Maybe(Adapter(bottleneck=bottleneck, gate=GATE)),
        Maybe(LoRA(rank=8, alpha=16.0, gate=GATE)),
        Maybe(BitFit()),
    )


def unipelt_central(
    n_layers: int, lengths: Sequence[int] = LENGTHS, bottleneck: int = 48, mlp: int = 512
) -> SearchSpace:
    """Prefix and LoRA behind one gate. Arguments as of :func:`unipelt`."""
    both = GatedLoRAPrefix(
        rank=8, length=Choice(*lengths), mlp=mlp, layers=_without_lowest(n_layers)
    )
    return SearchSpace(both, Maybe(Adapter(bottleneck=bottleneck, gate=GATE)), Maybe(BitFit()))


def _without_lowest(n_layers: int) -> Choice:
    return Choice(*(tuple(range(n, n_layers)) for n in range(n_layers)))


space = unipelt(12)
study = study_on_default("unipelt", unipelt(LAYERS, bottleneck=24))
