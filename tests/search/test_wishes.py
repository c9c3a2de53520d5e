"""A run in one process is asked to stop from another, through the storage."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from peftnas.methods import LoRA
from peftnas.search import Recipe, Study, UsageError, open_results, run_study
from peftnas.search.backbone import Backbone
from peftnas.search.inline_pool import in_this_process
from peftnas.search.storage import open_storage, sqlite_url
from peftnas.search.wishes import ask_to_stop
from peftnas.spaces import Integer, Maybe, Real, SearchSpace
from tests.search.conftest import GoodOrBad

RECIPE = Recipe(steps=2, batch_size=8, max_length=32, evaluations=1, learning_rate=Real(0.01, 0.1))


def study_on(backbone: Backbone) -> Study:
    space = SearchSpace(Maybe(LoRA(rank=Integer(1, 8))))
    return Study("tiny", backbone, GoodOrBad(), space, recipe=RECIPE)


def run(backbone: Backbone, out: Path, trials: int, ended: Any) -> None:
    """Run the study and say why it ended; in a process of its own."""
    summary = run_study(
        study_on(backbone),
        out=out,
        trials=trials,
        sampler="random",
        progress=False,
        baselines=False,
        make_pool=in_this_process,
    )
    ended.put(summary.stopped)


def start(backbone: Backbone, out: Path, trials: int) -> tuple[Any, Any]:
    context = multiprocessing.get_context("spawn")
    ended = context.Queue()
    process = context.Process(target=run, args=(backbone, out, trials, ended))
    process.start()
    return process, ended


def wait_for_trials(url: str, count: int) -> None:
    for _ in range(900):
        try:
            if open_results(url, "tiny").counts()["complete"] >= count:
                return
        except UsageError:
            pass  # not stored yet
        time.sleep(0.1)
    raise AssertionError(f"fewer than {count} trials after a minute and a half")


@pytest.mark.parametrize("now", [False, True])
def test_a_run_that_is_asked_to_stop_stops(bert: Backbone, tmp_path: Path, now: bool) -> None:
    url = sqlite_url(tmp_path)
    process, ended = start(bert, tmp_path, 100_000)
    wait_for_trials(url, 2)
    holder = ask_to_stop(open_storage(url), "tiny", now=now)
    assert str(process.pid) in holder
    assert ended.get(timeout=120) == "interrupted"
    process.join(timeout=60)
    counts = open_results(url, "tiny").counts()
    assert counts["complete"] >= 2
    if not now:
        assert counts["running"] == 0
    with pytest.raises(UsageError, match="nobody runs study 'tiny' now"):
        ask_to_stop(open_storage(url), "tiny")

    # what was asked of that run does not stop the next one
    process, ended = start(bert, tmp_path, counts["complete"] + 2)
    assert ended.get(timeout=120) == "done"
    process.join(timeout=60)
