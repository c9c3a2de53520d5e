"""NAS-PET: which bias vectors are trained, and which ranks of LoRA are kept, matrix by matrix.

    SearchSpace ("bitfit")    every bias vector, trained or not
    |- bitfit                 by layer: any set of query, key, value, output, up, down and norms
    `- bitfit2                any set of those outside the layers

    SearchSpace ("lora")      a rank 0 .. r for every matrix
    `- lora, lora2, ...       query, key, value, output, up and down, rank by layer

Source: Lawton et al. 2305.16597.

Published: a mask over groups, 2^groups: the bias vectors, or the ranks of all LoRA matrices; both
pruned by the product of parameter and gradient, then trained anew. On bert-base 98 vectors: 2^98.

Differences to the paper:
- which of the ranks of one matrix are kept makes no difference to what can be trained: the space
  has how many are kept, (r + 1)^72 for the 72 matrices of bert-base where masks are 2^(72 r).
- the key bias of bert has no effect; ``size()`` counts architectures without it.
- single elements of a vector (its unstructured variant) are not chosen here.

The default backbone has six layers, and its head does not read the pooler: "bitfit" there, of
layers and embeddings alone, 2^49 points.

    peftnas run studies/literature/nas_pet.py --trials 200
"""

from __future__ import annotations

from collections.abc import Sequence

from peftnas.methods import BitFit, LoRA
from peftnas.spaces.domains import Integer, Subset
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import PerLayer
from peftnas.studies.literature.on_default import study_on_default

LINEARS = ("query", "key", "value", "output", "up", "down")
VECTORS = (*LINEARS, "attention_norm", "ffn_norm")
OUTSIDE = ("embeddings_norm", "pooler")


def nas_pet_bitfit(
    vectors: Sequence[str] = VECTORS, outside: Sequence[str] = OUTSIDE
) -> SearchSpace:
    """Any set of the bias vectors of a backbone.

    Args:
        vectors: those of layers.
        outside: those outside the layers.
    """
    in_layers = BitFit(targets=PerLayer(Subset(*vectors, min_size=0)))
    items = [BitFit(targets=Subset(*outside, min_size=0))] if outside else []
    return SearchSpace(in_layers, *items)


def nas_pet_lora(rank: int = 16, targets: Sequence[str] = LINEARS) -> SearchSpace:
    """A rank for every matrix.

    Args:
        rank: the largest.
        targets: linears that have one.
    """
    ranks = {name: PerLayer(Integer(0, rank)) for name in targets}
    return SearchSpace(*LoRA.by_target(ranks))


space = nas_pet_bitfit()
study = study_on_default("nas-pet", nas_pet_bitfit(outside=("embeddings_norm",)))
