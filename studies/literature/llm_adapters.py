"""LLM-Adapters: prefix, adapters in series or in parallel, or LoRA; where, and how large.

    SearchSpace
    `- one of
       |- prefix            length 10, 20, 30 or 40
       |- linear_adapter    after a linear:   attention, FFN or both; bottleneck 64 .. 512
       |- linear_adapter2   beside a linear:  the same
       `- lora              attention, FFN or both; rank 4, 8, 16 or 32

Source: Hu et al. 2304.01933; the code released with it.

Published: 9 places, then 4 sizes of each method (two stages); the whole grid has 4 + 3 * 3 * 4 =
40 points.

Differences to the paper:
- the two stages are one space.
- adapters have no biases and tanh inside, as in its code; those in series stand after the linears
  that end a sublayer, those in parallel and LoRA at those that it names (query, key, value; up,
  down). ``gate_proj`` of llama has none.
- a prefix does not shift the positions of the tokens here, see ``Prefix``.

    peftnas run studies/literature/llm_adapters.py --trials 40
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peftnas.methods import LinearAdapter, LoRA, Prefix
from peftnas.spaces.domains import Choice
from peftnas.spaces.space import SearchSpace
from peftnas.studies.literature.on_default import study_on_default

ATTENTION = ("query", "key", "value")
FFN = ("up", "down")


def llm_adapters(
    lengths: Sequence[int] = (10, 20, 30, 40),
    bottlenecks: Sequence[int] = (64, 128, 256, 512),
    ranks: Sequence[int] = (4, 8, 16, 32),
) -> SearchSpace:
    """The space of a backbone with attention and FFN.

    Args:
        lengths: of the prefix.
        bottlenecks: of adapters.
        ranks: of LoRA; alpha is twice the rank there, and the rank here.
    """
    inner: Any = Choice(ATTENTION, FFN, (*ATTENTION, *FFN))
    ends: Any = Choice(("output",), ("down",), ("output", "down"))
    bottleneck = Choice(*bottlenecks)
    return SearchSpace(
        Choice(
            Prefix(length=Choice(*lengths)),
            LinearAdapter(insertion="after", bottleneck=bottleneck, targets=ends),
            LinearAdapter(insertion="parallel", bottleneck=bottleneck, targets=inner),
            LoRA(rank=Choice(*ranks), targets=inner),
        )
    )


space = llm_adapters()
study = study_on_default("llm-adapters", llm_adapters())
