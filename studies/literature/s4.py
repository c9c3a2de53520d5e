"""S4: four groups of layers, which are tuned, with which methods, and how sizes are spread.

    SearchSpace
    `- groups        4 groups: increasing, uniform, decreasing, spindle or bottleneck;
       |             a non-empty set of them is tuned; each has a non-empty set of
       |- adapter    bottleneck    -+
       |- prefix     length         +- by allocation: increasing, uniform or decreasing
       |- bitfit                    |
       `- lora       rank          -+

Source: Chen et al. 2301.01821. The code released with it has no search.

Published: 5 groupings * 3 allocations * 15 sets of tuned groups * 15^4 sets of methods =
11,390,625. Sets are counted for groups that are not tuned too (``draw_all``); ``size()`` counts
what differs. That is of one stack of layers: an encoder and its decoder are cut apart, each into
four groups with sets of their own.

Differences to the paper:
- the paper searches stage by stage, keeping the best of about 100 random models of each choice;
  here it is one space.
- sizes are allocated by group: 1, 2, 3 and 4 times a base, or the other way round; where uniform,
  twice the base in each. The paper says only that they grow or shrink over the layers.
- a group that has no module with a size (BitFit alone) is the same under all allocations.

    peftnas run studies/literature/s4.py --trials 200
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peftnas.methods import Adapter, BitFit, LoRA, Prefix
from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.grouped import Grouped
from peftnas.spaces.groupings import GROUPINGS
from peftnas.spaces.space import SearchSpace
from peftnas.spaces.structure import ByGroup
from peftnas.spaces.ties import Shared, Switch
from peftnas.studies.literature.on_default import study_on_default

BIASES = ("query", "key", "value", "output", "up", "down", "attention_norm", "ffn_norm")


def s4(
    groups: int = 4,
    groupings: Sequence[str] = GROUPINGS,
    adapter: int = 12,
    prefix: int = 4,
    lora: int = 2,
    biases: tuple[str, ...] = BIASES,
) -> SearchSpace:
    """The space of a backbone of at least as many layers as groups.

    Args:
        groups: how many.
        groupings: how the layers may be cut.
        adapter: least bottleneck.
        prefix: least length.
        lora: least rank.
        biases: that BitFit trains; linears without a bias are given one.
    """
    cut = Shared("grouping", Choice(*groupings))
    spread = Shared("allocation", Choice("increasing", "uniform", "decreasing"))

    def sizes(base: int) -> Any:
        growing = [base * (group + 1) for group in range(groups)]
        return Switch(
            spread,
            {
                "increasing": ByGroup(*growing, grouping=cut),
                "uniform": 2 * base,
                "decreasing": ByGroup(*reversed(growing), grouping=cut),
            },
        )

    # an allocation is drawn for BitFit too, as the paper counts
    same: Any = Switch(spread, {"increasing": biases, "uniform": biases, "decreasing": biases})
    return SearchSpace(
        Grouped(
            Adapter(bottleneck=sizes(adapter)),
            Prefix(length=sizes(prefix)),
            BitFit(targets=same, add=True),
            LoRA(rank=sizes(lora)),
            n=groups,
            grouping=cut,
            tuned=Subset(*range(groups)),
            draw_all=True,
        )
    )


space = s4()
study = study_on_default("s4", s4())
