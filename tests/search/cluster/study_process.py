"""A study on Ray in a process of its own, for tests that kill it.

Arguments: OUT, BACKBONE, TRIALS, and the ADDRESS of a cluster to join (default: local).
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from peftnas.methods import LoRA
from peftnas.search import Recipe, RunSummary, Study, run_study
from peftnas.search.cluster.pool import WorkerPool
from peftnas.search.pool_protocol import Pool
from peftnas.search.preflight import Prepared
from peftnas.spaces import Integer, Maybe, Real, SearchSpace, Subset
from tests.search import conftest

NAME = "killed"


def study_on(backbone: Path) -> Study:
    """Trials of about half a second."""
    space = SearchSpace(
        Maybe(LoRA(rank=Integer(1, 8, log=True), targets=Subset("query", "key", "value", "up")))
    )
    recipe = Recipe(
        steps=150,
        batch_size=8,
        max_length=32,
        evaluations=2,
        learning_rate=Real(1e-4, 1e-2, log=True),
    )
    return Study(NAME, str(backbone), conftest.GoodOrBad(), space, recipe=recipe)


def pool_of(prepared: Prepared, workers: int = 2, address: str = "local") -> WorkerPool:
    return WorkerPool(
        workers,
        prepared.spec,
        address=address,
        modules_by_value=(conftest,),
        object_store_bytes=100 * 2**20,
    )


def go(out: Path, backbone: Path, trials: int, pool: object = pool_of) -> RunSummary:
    def make_pool(prepared: Prepared) -> Pool:
        return pool(prepared)  # type: ignore[operator, no-any-return]

    return run_study(
        study_on(backbone),
        out=out,
        trials=trials,
        workers=2,
        progress=False,
        baselines=False,
        make_pool=make_pool,
    )


if __name__ == "__main__":
    joined = partial(pool_of, address=sys.argv[4] if len(sys.argv) > 4 else "local")
    print(go(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), joined).words())
