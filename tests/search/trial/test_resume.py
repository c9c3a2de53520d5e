"""A trial that stops on the way ends with the same tensors, losses and scores, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from peftnas.methods import (
    IA3,
    AdaLoRA,
    AdaMix,
    Adapter,
    DyLoRA,
    FullFineTuning,
    LoRA,
    Prefix,
    SoRA,
    SparseAdapter,
)
from peftnas.search.backbone import Backbone
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.trial.artifact import finished_result
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.search.trial.record import paused_result
from peftnas.search.trial.snapshot import SNAPSHOT, BadSnapshotError, read_snapshot
from tests.backbones import llama_config, save_backbone
from tests.methods.test_conformance import EXAMPLES, Example
from tests.search.conftest import JobOf
from tests.search.trial.stops import OFTEN, in_rungs, killed_on_the_way, spec_on, tensors_of

RECIPE = {"steps": 12, "batch_size": 6, "dropout": 0.2, "learning_rate": 1e-2, "evaluations": 3}
RUNGS = (3, 7)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_stops_leave_no_trace(
    backbone: Backbone, job_of: JobOf, methods: tuple[Any, ...], folder: Path, **recipe: Any
) -> None:
    """Straight, paused at two rungs, and killed in both: one and the same trial."""

    def bench() -> Bench:
        return spec_on(backbone).build()

    def job(name: str) -> TrialJob:
        return job_of(*methods, folder=str(folder / name), **(RECIPE | recipe))

    straight = run_trial(bench(), job("straight"))
    expected = tensors_of(straight)
    curve = {entry["step"]: entry for entry in straight.curve}
    assert len(set(straight.losses)) == len(straight.losses) == 12

    first, second, end = in_rungs(bench, job("rungs"), RUNGS)
    assert [(one.status, one.step) for one in (first, second)] == [("paused", 3), ("paused", 7)]
    assert second.resumed_from == 3 and end.resumed_from == 7

    killed_on_the_way(bench(), job("killed"))
    paused = run_trial(bench(), dataclasses.replace(job("killed"), until=7))
    assert 0 < paused.resumed_from < 7
    killed_on_the_way(bench(), job("killed"))
    after = run_trial(bench(), job("killed"))
    assert 7 < after.resumed_from < 12

    for other in (end, after):
        assert tensors_of(other) == expected
        assert other.losses == straight.losses
        assert not other.refused
        shared = [curve.get(entry["step"], entry) for entry in other.curve]
        assert shared == other.curve and len(shared) == len(other.curve) > len(curve)
        memory = [one.measured["train_memory_bytes"] for one in (straight, other)]
        assert memory[0] == memory[1]
        assert [path.name for path in sorted(Path(other.checkpoint or "").iterdir())] == [
            "head.safetensors",
            "modules",
            "result.json",
        ]


CASES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (
        (AdaLoRA(rank=4, target_rank=2, learning_rate=3e-2), Adapter(bottleneck=3, drop_below=1)),
        {"schedule": "cosine"},
    ),
    (
        (DyLoRA(rank=4), AdaMix(bottleneck=4), SoRA(rank=3, threshold=1e-2, layers=(1, 2))),
        {"weight_decay": 0.1, "head_learning_rate": 1e-3},
    ),
    ((SparseAdapter(bottleneck=8, sparsity=0.5),), {"pooling": "native", "dtype": "bfloat16"}),
    ((FullFineTuning(),), {"dtype": "bfloat16", "learning_rate": 1e-3}),
    ((LoRA(rank=2, layers=(2,)),), {"batch_size": 50}),
    ((), {}),
]


@pytest.mark.parametrize(("methods", "recipe"), CASES, ids=range(len(CASES)))
def test_stops_leave_no_trace(
    bert: Backbone,
    job_of: JobOf,
    tmp_path: Path,
    methods: tuple[Any, ...],
    recipe: dict[str, Any],
) -> None:
    assert_stops_leave_no_trace(bert, job_of, methods, tmp_path, **recipe)


def test_stops_leave_no_trace_in_a_decoder(llama: Backbone, job_of: JobOf, tmp_path: Path) -> None:
    methods = (Prefix(length=2, mlp=4, gate="unipelt"), IA3(layers=(1,)))
    assert_stops_leave_no_trace(llama, job_of, methods, tmp_path)


def refused_by_llama(example: Example) -> bool:
    return example.needs_bias or example.encoder


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Of three layers, as the examples of methods want them."""
    config = llama_config(layers=3)
    return Backbone(save_backbone(tmp_path_factory.mktemp("decoder"), config, pad=False))


EVERY = [
    pytest.param(name, example, dtype, id=f"{name}-{number}-{example.method.kind}-{dtype}")
    for name in ("bert", "decoder")
    for number, example in enumerate(EXAMPLES)
    if name == "bert" or not refused_by_llama(example)
    for dtype in ("float32", "bfloat16")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "example", "dtype"), EVERY)
def test_every_method_stops_and_goes_on(
    name: str,
    example: Example,
    dtype: str,
    job_of: JobOf,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    backbone = request.getfixturevalue(name)
    assert_stops_leave_no_trace(backbone, job_of, (example.method,), tmp_path, dtype=dtype)


def in_another_process(job: TrialJob, backbone: Backbone, tmp_path: Path) -> subprocess.Popen[str]:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job.to_dict()))
    command = [sys.executable, "-m", "tests.search.trial.stops", str(path), str(backbone.folder)]
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True
    )


def step_on_disk(folder: str) -> int:
    """That of the snapshot; the writer replaces it while this reads."""
    try:
        found = read_snapshot(folder)
    except BadSnapshotError as error:
        raise AssertionError("a snapshot was seen half-written") from error
    return 0 if found is None else found.step


def test_a_process_killed_from_outside_leaves_no_trace(
    bert: Backbone, job_of: JobOf, tmp_path: Path
) -> None:
    methods = (AdaLoRA(rank=4, target_rank=2), Adapter(bottleneck=3, drop_below=1))
    # so long that no machine is through before it is killed
    recipe = RECIPE | {"steps": 40_000, "evaluations": 1}
    job = job_of(*methods, folder=str(tmp_path / "killed"), **recipe)
    job = dataclasses.replace(job, snapshot_every_s=OFTEN)
    process = in_another_process(job, bert, tmp_path)
    while (reached := step_on_disk(job.folder)) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL

    reached = step_on_disk(job.folder)
    until = reached + 20
    after = run_trial(spec_on(bert).build(), dataclasses.replace(job, until=until))
    assert (after.status, after.step, after.resumed_from) == ("paused", until, reached)

    straight = dataclasses.replace(job, folder=str(tmp_path / "straight"), until=until)
    expected = run_trial(spec_on(bert).build(), straight)
    assert after.losses == expected.losses
    assert after.metrics == expected.metrics
    one, other = (read_snapshot(tmp_path / name) for name in ("killed", "straight"))
    assert one is not None and other is not None
    assert one.tensors.keys() == other.tensors.keys()
    for name in one.tensors.keys() - {"seconds"}:
        assert torch.equal(one.tensors[name], other.tensors[name]), name


@pytest.mark.parametrize("method", [Adapter(bottleneck=3, drop_below=1), AdaMix(bottleneck=4)])
def test_an_evaluation_changes_nothing_of_what_comes_after(
    bert: Backbone, job_of: JobOf, tmp_path: Path, method: Any
) -> None:
    bench = spec_on(bert).build()
    seldom, often = (
        run_trial(
            bench, job_of(method, folder=str(tmp_path / str(n)), **RECIPE | {"evaluations": n})
        )
        for n in (1, 12)
    )
    assert len(seldom.curve) == 1 and len(often.curve) == 12
    assert tensors_of(seldom) == tensors_of(often)
    assert seldom.losses == often.losses
    assert seldom.metrics == often.metrics


def test_a_pause_reports_what_it_reached(bert: Backbone, job_of: JobOf, tmp_path: Path) -> None:
    bench = spec_on(bert).build()
    job = job_of(folder=str(tmp_path / "4"), **RECIPE, number=4)
    rung = dataclasses.replace(job, until=5)
    paused = run_trial(bench, rung)
    assert (paused.status, paused.step, paused.checkpoint) == ("paused", 5, None)
    assert [entry["step"] for entry in paused.curve] == [4, 5]
    assert paused.metrics == {"accuracy": paused.curve[-1]["accuracy"]}
    assert len(paused.losses) == 5
    assert [path.name for path in (tmp_path / "4").iterdir()] == [SNAPSHOT]
    assert finished_result(job.folder, job.key) is None

    found = paused_result(job.folder, job.key, job.seed, 5)
    assert found is not None
    assert (found.metrics, found.losses) == (paused.metrics, paused.losses)
    for key, seed, until in (("other", job.seed, 5), (job.key, 12, 5), (job.key, job.seed, 6)):
        assert paused_result(job.folder, key, seed, until) is None

    again = run_trial(bench, rung)
    assert (again.status, again.resumed_from) == ("paused", 5), "nothing is trained twice"
    assert (again.metrics, again.losses, again.curve) == (
        paused.metrics,
        paused.losses,
        paused.curve,
    )
    end = run_trial(bench, job)
    assert (end.status, end.step, len(end.losses)) == ("complete", 12, 12)
    for name in ("setup_s", "train_s", "evaluate_s", "wall_s"):
        assert end.timing[name] > paused.timing[name]
    assert TrialResult.from_dict(json.loads(json.dumps(end.to_dict()))) == end


def test_costs_measured_at_the_start_are_not_measured_again(
    bert: Backbone, job_of: JobOf, tmp_path: Path
) -> None:
    job = dataclasses.replace(
        job_of(Adapter(bottleneck=3), folder=str(tmp_path / "4"), **RECIPE),
        measure=("inference_overhead",),
        until=4,
    )
    bench = spec_on(bert).build()
    paused = run_trial(bench, job)
    end = run_trial(bench, dataclasses.replace(job, until=None))
    assert end.measured["inference_overhead"] == paused.measured["inference_overhead"]
    assert end.timing["measure_s"] == paused.timing["measure_s"] > 0


@pytest.mark.parametrize("at", [0, 1, 4, 11])
def test_a_trial_is_handed_back_on_request_and_goes_on(
    bert: Backbone, job_of: JobOf, tmp_path: Path, at: int
) -> None:
    bench = spec_on(bert).build()
    job = job_of(folder=str(tmp_path / "4"), **RECIPE)
    steps: list[int] = []
    handed = run_trial(bench, job, lambda: max(steps, default=0) >= at, steps.append)
    assert (handed.status, handed.metrics, handed.checkpoint) == ("handed_back", {}, None)
    # a step is heard when it begins, so one more than was heard may be made
    assert handed.step == len(handed.losses) == step_on_disk(job.folder)
    assert handed.step in (at, at + 1)
    assert run_trial(bench, job, lambda: True).step == handed.step

    end = run_trial(bench, job)
    straight = run_trial(bench, dataclasses.replace(job, folder=str(tmp_path / "5")))
    assert tensors_of(end) == tensors_of(straight)
    assert end.curve == straight.curve


def test_beats_come_with_every_step_and_through_evaluations(bert: Backbone, job_of: JobOf) -> None:
    bench, beats = spec_on(bert).build(), list[int]()
    hooks = len(bench.model()._forward_pre_hooks)
    run_trial(bench, job_of(**RECIPE | {"evaluations": 1}), beat=beats.append)
    assert beats == sorted(beats)
    assert set(beats) == set(range(13))
    assert beats.count(3) == 1, "the 12th is that of the evaluation at the end"
    assert len(bench.model()._forward_pre_hooks) == hooks


@pytest.mark.parametrize(("every", "expected"), [(0.0, {0}), (3600.0, {0}), (OFTEN, {0, 1})])
def test_snapshots_on_the_way_come_as_often_as_asked(
    bert: Backbone, job_of: JobOf, tmp_path: Path, every: float, expected: set[int]
) -> None:
    job = job_of(folder=str(tmp_path / "4"), **RECIPE)
    found = []
    run_trial(
        spec_on(bert).build(),
        dataclasses.replace(job, snapshot_every_s=every),
        beat=lambda step: found.append(step_on_disk(job.folder)),
    )
    assert found == sorted(found)
    assert set(found[:4]) == expected


@pytest.mark.parametrize("until", [0, 13])
def test_a_step_that_the_recipe_does_not_have(
    bert: Backbone, job_of: JobOf, tmp_path: Path, until: int
) -> None:
    job = dataclasses.replace(job_of(folder=str(tmp_path / "4"), **RECIPE), until=until)
    result = run_trial(spec_on(bert).build(), job)
    assert (result.status, result.cause) == ("failed", "error")
    assert f"until must be from 1 to the recipe's 12 steps, got {until}" in result.error
    result = run_trial(spec_on(bert).build(), dataclasses.replace(job, until=4, folder=""))
    assert "needs a folder for its snapshot" in result.error


def test_divergence_at_a_later_rung_leaves_nothing(
    bert: Backbone, job_of: JobOf, tmp_path: Path
) -> None:
    bench = spec_on(bert).build()
    job = job_of(LoRA(rank=2), folder=str(tmp_path / "4"), **RECIPE)
    paused = run_trial(bench, dataclasses.replace(job, until=3))
    assert paused.status == "paused", paused.error
    with torch.no_grad():  # a backbone that no trial leaves behind
        bench.model().embeddings.LayerNorm.weight.fill_(float("nan"))
    result = run_trial(bench, job)
    assert (result.status, result.cause, result.step) == ("failed", "diverged", 3)
    assert result.losses == paused.losses
    assert list(tmp_path.iterdir()) == []
