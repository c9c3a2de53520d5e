"""NAS_for_PEFT: in each layer a set of places and a bottleneck of one to three linears.

    SearchSpace          one activation for all: gelu or relu
    `- groups            each layer one; at least two have modules; in each 1 to 3 of
       |- linear_adapter     behind the attention itself (its site attention.self)  -+
       |- adapter            after the norm of attention (attention)                 +- of one
       |- linear_adapter2    behind the activation of the FFN (intermediate)         |  bottleneck
       `- adapter2           after the norm of the FFN (output)                     -+

    bottleneck = one to three of 16, 24, 32, 64, 128 one after another, for each layer

Source: the code NAS_for_PEFT (Amal-AK), for CodeBERT and GraphCodeBERT.

Published: 2 * sum over k = 2 .. 12 of C(12, k) * (14 * 155)^k =
21925417764539757373644103381064277994800. Regularised evolution there; its result: more layers and
larger sizes matter, the rest little.

Differences to the code:
- gelu, where it has the tanh approximation of it.
- its check for repetitions sees only which layers are active, and rejects what is new; its
  mutation never changes the activation. Neither is a property of the space.

    peftnas run studies/literature/nas_for_peft.py --trials 200
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from peftnas.methods import Adapter, LinearAdapter
from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import PerLayer
from peftnas.spaces.ties import Shared
from peftnas.studies.literature.on_default import study_on_default

WIDTHS = (16, 24, 32, 64, 128)


def nas_for_peft(widths: Sequence[int] = WIDTHS, depth: int = 3, least: int = 2) -> SearchSpace:
    """The space of a backbone whose norms follow the residual, such as bert.

    Args:
        widths: of each linear inside.
        depth: most linears inside, one after another.
        least: fewest layers with modules.
    """
    stacks = [
        stack if len(stack) > 1 else stack[0]
        for size in range(1, depth + 1)
        for stack in itertools.product(widths, repeat=size)
    ]
    inner = Shared("bottleneck", PerLayer(Choice(*stacks)))
    phi = Shared("activation", Choice("gelu", "relu"))
    return SearchSpace(
        Grouped(
            LinearAdapter(
                insertion="before",
                targets=("output",),
                bottleneck=inner,
                activation=phi,
                bias=True,
            ),
            Adapter(site="attention", placement="after_ln", bottleneck=inner, activation=phi),
            LinearAdapter(
                insertion="before", targets=("down",), bottleneck=inner, activation=phi, bias=True
            ),
            Adapter(site="ffn", placement="after_ln", bottleneck=inner, activation=phi),
            n=None,
            tuned=Subset.of_layers(min_size=least),
            max_size=3,
        )
    )


space = nas_for_peft()
study = study_on_default("nas-for-peft", nas_for_peft())
