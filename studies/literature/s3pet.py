"""S3PET (S3Delta): every possible place has a small module of its own, or not.

    SearchSpace ("mix")       each line once for every layer that has the site, present or absent
    |- lora                   rank 1, at each of query, key, value, output, up, down
    |- bitfit                 one vector, at each of these and at each norm, the final ones too
    |- ln_tuning              the weight of each norm, the final ones too
    `- adapter                width 1, after self-attention and after the FFN

    SearchSpace ("lora")      the first line alone

Source: Hu et al. 2206.07382; the code released with it.

Published (counted on T5-large, 24 + 24 layers): 288 LoRA + 410 bias vectors + 122 norm weights +
96 adapters: 2^916; LoRA alone 2^288. Both under a budget of parameters, which is
``max_parameters`` here; the search there is differentiable.

Differences to the paper:
- T5 has no biases: BitFit adds them (``add=True``), those of norms cannot be merged.
- its low-rank adapter has two linears of rank 1 each, of the width of a bottleneck; here it is an
  adapter of width 1, which reads one direction and writes one too.
- an adapter of T5's decoder comes after self-attention, as there; cross-attention has none of the
  modules but those of its norm.

The default backbone is an encoder of six layers without final norms: "mix" there, with at most
0.2 % of its parameters.

    peftnas run studies/literature/s3pet.py --trials 200
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peftnas.methods import Adapter, BitFit, LNTuning, LoRA
from peftnas.spaces.domains import Subset
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe
from peftnas.studies.literature.on_default import LAYERS, study_on_default

LINEARS = ("query", "key", "value", "output", "up", "down")


def s3pet_lora(budget: int | str | None = None, linears: Sequence[str] = LINEARS) -> SearchSpace:
    """A LoRA of rank 1 at every linear of self-attention and FFN, or not.

    Args:
        budget: most trainable parameters.
        linears: that can have one.
    """
    return SearchSpace(*_loras(linears), max_parameters=budget)


def s3pet_mix(
    encoder: int, decoder: int = 0, final_norm: bool = True, budget: int | str | None = None
) -> SearchSpace:
    """Every kind of module at every place, or not.

    Args:
        encoder: layers of the first stack.
        decoder: layers of the second stack; 0: there is none.
        final_norm: whether stacks end in a norm of their own (T5; bert does not).
        budget: most trainable parameters.
    """
    every = Subset.of_layers(min_size=0)
    at: dict[str, Any] = {"attention_norm": every, "ffn_norm": every}
    if decoder:
        at["cross_attention_norm"] = Subset(*range(encoder, encoder + decoder), min_size=0)
    stacks = ((None,), ("encoder", "decoder"))[bool(decoder)] if final_norm else ()
    final = ("final_norm",)
    return SearchSpace(
        *_loras(),
        *(BitFit(targets=(name,), add=True, layers=every) for name in LINEARS),
        *(BitFit(targets=(name,), add=True, layers=layers) for name, layers in at.items()),
        *(Maybe(BitFit(targets=final, add=True, stack=stack)) for stack in stacks),
        *(
            LNTuning(targets=(name,), parts=("weight",), layers=layers)
            for name, layers in at.items()
        ),
        *(Maybe(LNTuning(targets=final, parts=("weight",), stack=stack)) for stack in stacks),
        *(
            Adapter(site=site, placement="houlsby", bottleneck=1, layers=every)
            for site in ("attention", "ffn")
        ),
        max_parameters=budget,
    )


def _loras(linears: Sequence[str] = LINEARS) -> list[LoRA]:
    every = Subset.of_layers(min_size=0)
    return [LoRA(rank=1, targets=(name,), layers=every) for name in linears]


space = s3pet_mix(24, 24)
study = study_on_default("s3pet", s3pet_mix(LAYERS, final_norm=False, budget="0.2%"))
