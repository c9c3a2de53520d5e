"""The quickstart study: a real search on real weights that needs no download of its own.

    SearchSpace   max_parameters 2 %, one gate for all methods that take one
    |- adapter?   site, serial or parallel, bottleneck 1..128, layers
    |- lora?      rank 1..32, targets, layers
    |- prefix?    length 1..32
    |- prompt?    length 1..32
    |- ia3?
    `- bitfit?

Backbone: all-MiniLM-L6-v2 (6 layers, 22.7 M parameters). Task: which package of the standard
library a docstring comes from. A trial takes some seconds on one CPU core.
"""

from __future__ import annotations

from peftnas.methods import IA3, Adapter, BitFit, LoRA, Prefix, Prompt
from peftnas.search.recipe import Recipe
from peftnas.search.study import Study
from peftnas.spaces.domains import Choice, Integer, Real, Subset
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import Maybe
from peftnas.studies.tasks.stdlib_docstrings import StdlibDocstrings
from peftnas.studies.weights import backbone

__all__ = ["backbone", "space", "study"]

space = SearchSpace(
    Maybe(
        Adapter(
            site=Choice("attention", "ffn", "both"),
            insertion=Choice("serial", "parallel"),
            bottleneck=Integer(1, 128, log=True),
            layers=Subset.of_layers(),
        )
    ),
    Maybe(
        LoRA(
            rank=Integer(1, 32, log=True),
            targets=Subset("query", "key", "value", "output", "up", "down"),
            layers=Subset.of_layers(),
        )
    ),
    Maybe(Prefix(length=Integer(1, 32, log=True))),
    Maybe(Prompt(length=Integer(1, 32, log=True))),
    Maybe(IA3()),
    # the pooler's bias, which BitFit() would train too, is not read by a mean-pooled head
    Maybe(
        BitFit(targets=("query", "value", "output", "up", "down", "attention_norm", "ffn_norm"))
    ),
    gate=Choice(None, "unipelt"),
    max_parameters="2%",
)

study = Study(
    name="quickstart",
    backbone=backbone,
    task=StdlibDocstrings(),
    space=space,
    recipe=Recipe(
        steps=60,
        batch_size=32,
        learning_rate=Real(2e-3, 1e-2, log=True),
        # at one rate for both, how well the head has learned would hide what the modules add
        head_learning_rate=2e-2,
        pooling="mean",
        max_length=40,
        evaluations=2,
    ),
    objectives=("accuracy", "trainable_parameters"),
)
