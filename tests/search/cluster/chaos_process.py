"""A study with halving on a cluster, in a process of its own, for the chaos around it.

Arguments: OUT, BACKBONE, TRIALS, and the ADDRESS of the cluster to join.
"""

from __future__ import annotations

import sys
from pathlib import Path

from peftnas.methods import LoRA
from peftnas.search import Recipe, RunSummary, Study, run_study
from peftnas.search.cluster.pool import WorkerPool
from peftnas.search.halving import Halving
from peftnas.search.preflight import Prepared
from peftnas.spaces import Integer, Maybe, Real, SearchSpace, Subset
from tests.search import conftest

NAME = "chaos"
WORKERS = 3
HALVING = Halving(min_steps=30, reduction_factor=3)
STEPS = 270


def study_on(backbone: Path) -> Study:
    """Trials of about a tenth of a second to a second."""
    space = SearchSpace(
        Maybe(LoRA(rank=Integer(1, 8, log=True), targets=Subset("query", "key", "value", "up")))
    )
    recipe = Recipe(
        steps=STEPS,
        batch_size=8,
        max_length=32,
        evaluations=2,
        learning_rate=Real(1e-4, 1e-2, log=True),
    )
    return Study(NAME, str(backbone), conftest.GoodOrBad(), space, recipe=recipe, halving=HALVING)


def go(out: Path, backbone: Path, trials: int, address: str) -> RunSummary:
    def pool(prepared: Prepared) -> WorkerPool:
        return WorkerPool(
            WORKERS, prepared.spec, address=address, modules_by_value=(conftest,), out=out
        )

    return run_study(
        study_on(backbone),
        out=out,
        trials=trials,
        workers=WORKERS,
        progress=False,
        baselines=False,
        make_pool=pool,
    )


if __name__ == "__main__":
    summary = go(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    print(summary.words())
    if summary.stopped != "done":
        sys.exit(f"it stopped: {summary.stopped}")
