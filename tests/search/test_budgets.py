"""Studies with budgets beyond parameters, run through the driver on real backbones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from peftnas.methods import Adapter, LoRA
from peftnas.search import Recipe, Study
from peftnas.search.backbone import Backbone
from peftnas.search.constraints import parse_constraint
from peftnas.search.errors import UsageError
from peftnas.search.inline_pool import InlinePool
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.outcomes import outcome, within_limits
from peftnas.search.predictions import Predicts
from peftnas.search.preflight import Prepared, heaviest, prepare
from peftnas.search.report import report_html
from peftnas.search.results import StudyResults, open_results
from peftnas.search.run_summary import RunSummary
from peftnas.search.runner import run_study
from peftnas.search.sampling.samplers import SAMPLERS
from peftnas.search.trial.fine_tune import run_trial
from peftnas.spaces import (
    Architecture,
    Choice,
    Integer,
    Maybe,
    Real,
    SearchSpace,
    max_train_memory_bytes,
)
from tests.search.conftest import GoodOrBad
from tests.search.toys import (
    RECIPE,
    Exploration,
    ToyAnatomy,
    conditional_space,
    records_in_memory,
    train,
)

SPACE = SearchSpace(Maybe(LoRA(rank=Integer(1, 8))), Maybe(Adapter(bottleneck=Integer(1, 16))))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def study_on(backbone: Backbone, **changes: Any) -> Study:
    recipe = Recipe(
        steps=12,
        batch_size=8,
        max_length=32,
        evaluations=1,
        learning_rate=Real(1e-3, 1e-2, log=True),
    )
    fields = {"recipe": recipe, "space": SPACE, "objectives": ("accuracy", "inference_overhead")}
    return Study("budgets", backbone, GoodOrBad(), **fields | changes)


def run(
    study: Study, out: Path, trials: int, *, baselines: bool = False
) -> tuple[StudyResults, list[TrialJob], RunSummary]:
    """What came of a study, and every job that a worker got."""
    jobs: list[TrialJob] = []

    def pool(prepared: Prepared) -> InlinePool:
        bench = prepared.spec.build()

        def one(job: TrialJob) -> TrialResult:
            jobs.append(job)
            return run_trial(bench, job)

        return InlinePool(one)

    summary = run_study(
        study, out=out, trials=trials, make_pool=pool, progress=False, baselines=baselines
    )
    return open_results(summary.storage_url, study.name), jobs, summary


def test_accuracy_against_overhead_on_a_real_backbone(bert: Backbone, tmp_path: Path) -> None:
    results, _, summary = run(study_on(bert), tmp_path, 10, baselines=True)
    assert summary.stopped == "done" and len(results.finished) == 10
    for row in (*results.finished, *results.baselines):
        merges = "adapter" not in row.words
        assert (row.values["inference_overhead"] == 0.0) is merges, row.words
        assert row.values["inference_overhead"] == row.costs["inference_overhead"]
        assert row.costs["train_memory_bytes"] > row.costs["stored_bytes"]
        assert row.costs["train_step_s"] > 0
    front = results.front()
    assert front[0].values["inference_overhead"] == 0.0
    overheads = [row.values["inference_overhead"] for row in front]
    scores = [row.values["accuracy"] for row in front]
    assert overheads == sorted(overheads) and scores == sorted(scores)
    assert results.measured_costs() == ("train_memory_bytes", "train_step_s")
    page = report_html(results)
    assert "train memory" in page and "train step" in page and "inference overhead" in page


def test_an_architecture_over_memory_never_starts(bert: Backbone, tmp_path: Path) -> None:
    free = study_on(bert)
    prepared = prepare(free)
    recipe = replace(free.recipe, learning_rate=1e-3)
    sizes = sorted(
        prepared.predictions.train_memory_bytes(
            prepared.bound.canonical(prepared.bound.sample(seed)), recipe
        )
        for seed in range(20)
    )
    limit = sizes[len(sizes) // 2]
    text = f"train_memory_bytes <= {limit}B"
    study = study_on(bert, objectives=("accuracy",), constraints=(text,))
    results, jobs, _ = run(study, tmp_path, 8, baselines=True)
    refused = [row for row in results.trials if "predicted to be" in row.reason]
    assert refused and all(row.state == "refused" for row in refused)
    assert all(row.reason.endswith(f", constraint: {text}") for row in refused)
    # each job that a worker got was within the limit, as predicted and as measured
    untuned = [row for row in results.baselines if row.state == "complete"]
    assert len(results.finished) == 8 and len(jobs) == 8 + len(untuned)
    for job in jobs:
        architecture = Architecture.from_dict(job.architecture)
        taken = prepared.predictions.train_memory_bytes(architecture, Recipe.from_dict(job.recipe))
        assert taken <= limit
    for row in results.finished:
        assert row.costs["train_memory_bytes"] <= limit and not row.over
    (full,) = (row for row in results.baselines if row.baseline == "full fine-tuning")
    assert full.state == "refused" and "does not fit: train_memory_bytes" in full.reason


def test_a_limit_of_the_space_itself_counts_too(bert: Backbone, tmp_path: Path) -> None:
    """``max_train_memory_bytes`` of a space takes the largest batch that the recipe can have."""
    recipe = replace(study_on(bert).recipe, batch_size=Choice(2, 8))
    free = prepare(study_on(bert, recipe=recipe))
    heavy = heaviest(recipe)
    assert (heavy.batch_size, heavy.max_length) == (8, 32)
    limit = free.predictions.train_memory_bytes(Architecture(LoRA(rank=4)), heavy)
    space = SearchSpace(*SPACE.items, constraints=(max_train_memory_bytes(limit),))
    results, jobs, _ = run(
        study_on(bert, space=space, recipe=recipe, objectives=("accuracy",)), tmp_path, 24
    )
    assert any("predicted training memory must be <=" in row.reason for row in results.trials)
    for job in jobs:
        architecture = Architecture.from_dict(job.architecture)
        assert free.predictions.train_memory_bytes(architecture, heavy) <= limit


def test_no_overhead_at_all_refuses_what_cannot_be_merged(bert: Backbone, tmp_path: Path) -> None:
    study = study_on(bert, objectives=("accuracy",), constraints=("inference_overhead <= 0%",))
    results, jobs, _ = run(study, tmp_path, 4)
    assert all("adapter" not in str(job.architecture) for job in jobs)
    reasons = {row.reason for row in results.trials if row.state == "refused"}
    assert any("inference_overhead cannot be 0 with layers[0].ffn: adapter" in r for r in reasons)


def test_a_trial_measured_over_a_limit_counts_and_is_on_no_front(
    bert: Backbone, tmp_path: Path
) -> None:
    # with an adapter more than none, so that what merges is the only way to meet it
    text = "inference_overhead <= 0.0001%"
    study = study_on(bert, objectives=("accuracy", "stored_bytes"), constraints=(text,))
    results, _, summary = run(study, tmp_path, 8)
    assert summary.stopped == "done" and len(results.finished) == 8
    over = [row for row in results.finished if row.over]
    assert over and all("adapter" in row.words for row in over)
    assert all("inference_overhead is" in sentence for row in over for sentence in row.over)
    assert not any(row.over for row in results.front())
    kept = {int(folder.name) for folder in (tmp_path / "checkpoints").glob("[0-9]*")}
    assert kept == {row.number for row in results.front()}
    volumes = results.hypervolume()
    for row, before, after in zip(results.finished[1:], volumes, volumes[1:], strict=False):
        assert after == before or not row.over
    assert "over a limit" in report_html(results)


def test_a_decoder_is_timed_word_by_word(llama: Backbone, tmp_path: Path) -> None:
    study = study_on(llama, objectives=("accuracy", "decode_overhead"))
    results, _, _ = run(study, tmp_path, 4)
    for row in results.finished:
        assert (row.values["decode_overhead"] == 0.0) is ("adapter" not in row.words)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"objectives": ("decode_overhead",)}, "needs a backbone that gives word after word"),
        ({"constraints": ("decode_overhead <= 5%",)}, "take inference_overhead, or a decoder"),
        (
            {"constraints": ("train_memory_bytes <= 1kB",)},
            "no architecture of the space was found",
        ),
    ],
)
def test_what_no_trial_could_meet_is_found_before_one(
    bert: Backbone, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        prepare(study_on(bert, **changes))


def test_another_limit_is_another_study(bert: Backbone, tmp_path: Path) -> None:
    limited = study_on(bert, constraints=("train_step_s <= 10s",))
    first, _, _ = run(limited, tmp_path, 2)
    again, jobs, summary = run(limited, tmp_path, 3)
    assert summary.kept == 2 and len(jobs) == 1
    assert [row.costs for row in again.trials[:2]] == [row.costs for row in first.trials]
    with pytest.raises(UsageError, match="constraints"):
        run(replace(limited, constraints=("train_step_s <= 9s",)), tmp_path, 4)
    with pytest.raises(UsageError, match="objectives"):
        run(replace(limited, objectives=("accuracy", "train_step_s")), tmp_path, 4)


@dataclass(frozen=True)
class ToyPredictions(Predicts):
    """A closed form: ten bytes a parameter."""

    def train_memory_bytes(self, architecture: Architecture, recipe: Recipe) -> int:
        return 10 * sum(part.count() for part in ToyAnatomy().place(architecture))

    def remaining(self, architecture: Architecture) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "bruteforce"])
def test_every_sampler_takes_refusals_failures_and_violations(name: str) -> None:
    limits = [parse_constraint(t) for t in ("train_memory_bytes <= 500B", "train_step_s <= 30ms")]
    records = records_in_memory(*limits)
    assert records.measure == ("train_memory_bytes", "train_step_s")
    exploration = Exploration(
        records,
        conditional_space(),
        RECIPE,
        name,
        constraints=limits,
        spread=4,
        predictions=ToyPredictions(),
    )
    n = 14 if name == "gp" else 24
    for index in range(n):
        work = exploration.next()
        assert work is not None
        result = train(work.job())
        count = result.trainable_parameters
        assert 10 * count <= 500
        measured = {"train_memory_bytes": 11.0 * count, "train_step_s": 1e-3 * count}
        result = replace(result, measured=measured)
        if index == 5:
            result = replace(result, status="failed", cause="error", error="x", measured={})
        exploration.end(work, result)
        if index == 5:
            told = records.trials()[work.number].constraints
            assert len(told) == 3 and all(violation > 0 for violation in told.values())
    done = [trial for trial in records.trials() if outcome(trial) == "complete"]
    assert len(done) == n - 1
    for trial in done:
        count = trial.user_attrs["result"]["trainable_parameters"]
        assert within_limits(trial) is (11 * count <= 500 and count <= 30)
        assert len(trial.constraints) == 3
        assert within_limits(trial) is ("over" not in trial.user_attrs)
    assert all(within_limits(trial) for trial in records.study.best_trials)
    assert exploration.intake.refused


def test_what_a_trial_did_not_measure_fails_it() -> None:
    exploration = Exploration(
        records_in_memory(parse_constraint("train_step_s <= 1s")), conditional_space()
    )
    work = exploration.next()
    assert work is not None
    told = exploration.end(work, train(work.job())).result
    assert told.status == "failed" and told.error.endswith("measure train_step_s, and did not")
