"""Architectures chosen by hand are trained before what the sampler proposes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftnas.methods import BitFit, LoRA
from peftnas.search import Recipe, Study, UsageError, open_results, run_study
from peftnas.search.backbone import Backbone
from peftnas.search.enqueue import Wanted, in_study
from peftnas.search.inline_pool import in_this_process
from peftnas.search.preflight import prepare
from peftnas.search.storage import sqlite_url
from peftnas.spaces import Architecture, Choice, Integer, Maybe, Real, SearchSpace

RECIPE = Recipe(
    steps=2,
    batch_size=Choice(8, 4),
    max_length=32,
    evaluations=1,
    learning_rate=Real(0.01, 0.09, log=True),
)


@pytest.fixture
def study(bert: Backbone, good_or_bad: Any) -> Study:
    space = SearchSpace(Maybe(LoRA(rank=Integer(1, 8))), max_parameters=1200)
    return Study("tiny", bert, good_or_bad(), space, recipe=RECIPE)


def test_what_is_enqueued_before_the_first_run_comes_first(study: Study, tmp_path: Path) -> None:
    prepared = prepare(study)
    wanted, records = Wanted(prepared), in_study(prepared, sqlite_url(tmp_path))
    middle = wanted.draw(Architecture(LoRA(rank=2)))
    assert middle.recipe.learning_rate == pytest.approx(0.03)
    assert middle.recipe.batch_size == 8
    chosen = wanted.draw(Architecture(LoRA(rank=3)), {"learning_rate": 0.02}, {"batch_size": 4})
    numbers = [wanted.enqueue(records, draw) for draw in (middle, chosen)]
    assert numbers == [0, 1]
    assert open_results(sqlite_url(tmp_path), "tiny").counts()["enqueued"] == 2
    with pytest.raises(UsageError, match=r"trial 1 of the study is this architecture.*enqueued"):
        wanted.enqueue(records, chosen)

    run_study(
        study,
        out=tmp_path,
        trials=4,
        progress=False,
        baselines=False,
        make_pool=in_this_process,
    )
    rows = open_results(sqlite_url(tmp_path), "tiny").trials
    assert [row.state for row in rows[:2]] == ["complete", "complete"]
    assert rows[0].words.startswith("lora rank 2") and rows[1].words.startswith("lora rank 3")
    assert (rows[1].recipe["learning_rate"], rows[1].recipe["batch_size"]) == (0.02, 4)
    assert rows[0].params["recipe.learning_rate"] == rows[0].recipe["learning_rate"]
    assert sum(row.state == "complete" for row in rows) == 4


def test_what_cannot_be_enqueued_is_refused_with_the_reason(study: Study) -> None:
    wanted = Wanted(prepare(study))
    with pytest.raises(UsageError, match="must be of the study's space to be enqueued"):
        wanted.draw(Architecture(BitFit()))
    with pytest.raises(UsageError, match="1,200"):
        wanted.draw(Architecture(LoRA(rank=8)))
    with pytest.raises(UsageError, match=r"recipe\.learning_rate must be of what the study holds"):
        wanted.draw(Architecture(LoRA(rank=1)), required={"learning_rate": 1.0})
    with pytest.raises(UsageError, match=r"recipe\.speed must be of what the study holds"):
        wanted.draw(Architecture(LoRA(rank=1)), required={"speed": 1.0})
    # what another study found is taken where it fits
    draw = wanted.draw(Architecture(LoRA(rank=1)), {"learning_rate": 1.0, "steps": 500})
    assert draw.recipe.learning_rate == pytest.approx(0.03)


def test_another_study_takes_a_front(study: Study, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "progress": False,
        "baselines": False,
        "make_pool": in_this_process,
    }
    run_study(study, out=tmp_path / "first", trials=3, **options)
    front = open_results(sqlite_url(tmp_path / "first"), "tiny").front()
    second = replace(study, name="second", seed=5)
    prepared = prepare(second)
    wanted, url = Wanted(prepared), sqlite_url(tmp_path / "second")
    records = in_study(prepared, url)
    for row in front:
        wanted.enqueue(records, wanted.draw(Architecture.from_dict(row.architecture), row.recipe))
    run_study(second, out=tmp_path / "second", trials=len(front), **options)
    again = open_results(url, "second").trials
    assert [row.train_key for row in again] == [row.train_key for row in front]
    assert [row.recipe for row in again] == [row.recipe for row in front]
