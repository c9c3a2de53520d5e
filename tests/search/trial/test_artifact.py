"""Artifact: whole or absent, tied to its key, and loads to the same answers."""

import dataclasses
import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftnas.methods import Adapter, BitFit, FullFineTuning, LoRA, Prefix, Prompt
from peftnas.search.backbone import Backbone
from peftnas.search.errors import CannotSaveError
from peftnas.search.inline_pool import InlinePool
from peftnas.search.pool_protocol import Lost
from peftnas.search.recipe import Recipe
from peftnas.search.trial.artifact import RESULT, finished_result, load_artifact, read_result
from peftnas.search.trial.fine_tune import build_classifier, run_trial
from tests.search.conftest import JobOf, SpecOf

CASES: list[tuple[tuple[Any, ...], str]] = [
    ((), "mean"),
    ((LoRA(rank=2, gate="unipelt"), Adapter(bottleneck=3)), "first"),
    ((Prefix(length=2), Prompt(length=2)), "mean"),
    ((FullFineTuning(),), "native"),
    ((BitFit(),), "last"),
]


@pytest.mark.parametrize(("methods", "pooling"), CASES, ids=str)
def test_a_loaded_artifact_scores_as_its_trial(
    bert: Backbone,
    spec_of: SpecOf,
    job_of: JobOf,
    tmp_path: Path,
    methods: tuple[Any, ...],
    pooling: str,
) -> None:
    bench = spec_of(bert).build()
    folder = tmp_path / "checkpoints" / "4"
    job = job_of(*methods, folder=str(folder), pooling=pooling, learning_rate=1e-2)
    result = run_trial(bench, job)
    assert result.status == "complete", result.error
    assert result.checkpoint == str(folder)

    tokens = bench.examples(32).validation
    classifier = load_artifact(folder, bert.load())
    answers = classifier.predict(tokens)
    assert bench.task.score(answers, tokens.labels) == result.metrics

    untrained = build_classifier(bench, job, Recipe.from_dict(job.recipe))
    assert not np.allclose(untrained.predict(tokens), answers, atol=1e-3)
    untrained.detach()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a full disk: writing more than so many bytes into a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [100, 1000], ids=["tensors", "result"])
def test_a_full_disk_is_no_fault_of_the_trial_and_leaves_nothing(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, tmp_path: Path, size: int
) -> None:
    bench = spec_of(bert).build()
    folder = tmp_path / "checkpoints" / "4"
    job = job_of(Prompt(length=1), folder=str(folder))
    with files_of_at_most(size), pytest.raises(CannotSaveError, match="cannot be written"):
        run_trial(bench, job)
    pool = InlinePool(lambda given: run_trial(bench, given))
    pool.submit(job)
    with files_of_at_most(size):
        event = pool.next_event()
    assert isinstance(event, Lost) and "cannot be written" in event.reason
    assert list(folder.parent.iterdir()) == []
    assert run_trial(bench, job).status == "complete"


def test_the_result_is_found_by_its_key(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, tmp_path: Path
) -> None:
    job = job_of(number=4, folder=str(tmp_path / "4"))
    result = run_trial(spec_of(bert).build(), job)
    found = finished_result(job.folder, job.key)
    assert found is not None
    assert found.losses == result.losses
    assert found.metrics == result.metrics
    assert finished_result(job.folder, "another key") is None
    assert finished_result(tmp_path / "5", job.key) is None

    content = read_result(job.folder)
    assert content is not None
    assert content["seed"] == job.seed
    assert content["backbone"] == {"name": "tiny-bert", "sha256": bert.sha256}
    assert content["label_names"] == ["bad", "good"]

    moved = (tmp_path / "4").rename(tmp_path / "moved")
    again = finished_result(moved, job.key)
    assert again is not None and again.checkpoint == str(moved)
    (moved / RESULT).write_text("{")
    assert finished_result(moved, job.key) is None


def test_a_failed_trial_leaves_nothing(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, tmp_path: Path
) -> None:
    job = job_of(folder=str(tmp_path / "4"), learning_rate=1e30, clip_norm=0.0)
    result = run_trial(spec_of(bert).build(), job)
    assert result.cause == "diverged"
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_replaces_the_first_and_clears_old_drafts(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, tmp_path: Path
) -> None:
    bench = spec_of(bert).build()
    old, young = tmp_path / ".4.0a.part", tmp_path / ".4.0b.part"
    for draft in (old, young):
        draft.mkdir()
        (draft / "head.safetensors").write_bytes(b"")
    hours_ago = time.time() - 3 * 3600
    os.utime(old, (hours_ago, hours_ago))
    job = job_of(folder=str(tmp_path / "4"))
    run_trial(bench, job)
    run_trial(bench, dataclasses.replace(job, key="newer", seed=12))
    assert json.loads((tmp_path / "4" / RESULT).read_text())["key"] == "newer"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".4.0b.part", "4"]


def test_no_artifact_is_said(bert: Backbone, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint lies in"):
        load_artifact(tmp_path, bert.load())
