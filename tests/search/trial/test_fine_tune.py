"""Trial: what it reports, that it repeats bit for bit, that failures are data."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from peftnas.methods import (
    IA3,
    AdaLoRA,
    AdaMix,
    Adapter,
    BitFit,
    DyLoRA,
    FullFineTuning,
    LoRA,
    Method,
    Prefix,
    Prompt,
    SoRA,
    SparseAdapter,
)
from peftnas.search.backbone import Backbone
from peftnas.search.jobs import TIMES, TrialJob, TrialResult
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from tests.search.conftest import GoodOrBad, JobOf, SpecOf


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def bench(bert: Backbone, spec_of: SpecOf) -> Bench:
    return spec_of(bert).build()


def state_of(bench: Bench, dtype: str = "float32") -> tuple[str, set[bool], int]:
    """Hash of the weights, which gradients are wanted, number of hooks."""
    model = bench.model(dtype)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.float().numpy().tobytes())
    hooks = sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )
    return digest.hexdigest(), {p.requires_grad for p in model.parameters()}, hooks


def test_a_trial_learns_and_reports(bench: Bench, job_of: JobOf) -> None:
    result = run_trial(bench, job_of(LoRA(rank=4), steps=80, learning_rate=1e-2, evaluations=3))
    assert (result.status, result.cause, result.error) == ("complete", None, "")
    assert len(result.losses) == 80
    assert np.mean(result.losses[-10:]) < 0.7 * np.mean(result.losses[:10])
    assert [entry["step"] for entry in result.curve] == [27, 53, 80]
    assert result.metrics == {"accuracy": result.curve[-1]["accuracy"]}
    assert result.metrics["accuracy"] > 0.7
    assert result.trainable_parameters == 3 * 2 * 2 * 32 * 4
    assert result.stored_bytes == 4 * result.trainable_parameters
    assert result.head_parameters == 2 * 32 + 2
    assert set(result.timing) == set(TIMES)
    parts = sum(result.timing[name] for name in TIMES if name != "wall_s")
    assert 0 < parts <= result.timing["wall_s"]


def test_job_and_result_are_json(bench: Bench, job_of: JobOf) -> None:
    job = job_of()
    assert TrialJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    result = run_trial(bench, job)
    again = TrialResult.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False)))
    assert again == result


OTHERS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((FullFineTuning(),), {"learning_rate": 1e-2}),
    ((Prefix(length=3), Prompt(length=2)), {"pooling": "native"}),
    ((LoRA(rank=1, gate="unipelt"),), {"dropout": 0.5, "batch_size": 5}),
    ((IA3(), BitFit()), {"max_length": 9, "schedule": "cosine"}),
]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_same_trial_first_or_after_others_or_on_another_bench(
    bert: Backbone, spec_of: SpecOf, job_of: JobOf, dropout: float
) -> None:
    job = job_of(Adapter(bottleneck=4), LoRA(rank=2), steps=30, dropout=dropout)
    bench = spec_of(bert).build()
    first = run_trial(bench, job)
    for number, (methods, recipe) in enumerate(OTHERS):
        other = run_trial(bench, job_of(*methods, number=number, seed=number, **recipe))
        assert other.status == "complete", other.error
    after = run_trial(bench, job)
    elsewhere = run_trial(spec_of(bert).build(), job)
    assert first.losses == after.losses == elsewhere.losses
    assert first.curve == after.curve == elsewhere.curve


def test_seed_and_dropout_matter(bench: Bench, job_of: JobOf) -> None:
    first, other_seed = (run_trial(bench, job_of(seed=seed)) for seed in (1, 2))
    dropped = run_trial(bench, job_of(seed=1, dropout=0.5))
    assert first.losses != other_seed.losses
    assert first.losses != dropped.losses


@pytest.mark.parametrize("pooling", ["mean", "last", "native"])
def test_a_decoder_without_padding_token(
    llama: Backbone, spec_of: SpecOf, job_of: JobOf, pooling: str
) -> None:
    result = run_trial(
        spec_of(llama).build(),
        job_of(LoRA(rank=4), steps=60, learning_rate=1e-2, pooling=pooling),
    )
    assert result.status == "complete", result.error
    assert np.mean(result.losses[-10:]) < np.mean(result.losses[:10])


def test_a_regression(bert: Backbone, spec_of: SpecOf, job_of: JobOf) -> None:
    bench = spec_of(bert, regression=True).build()
    result = run_trial(bench, job_of(LoRA(rank=4), steps=80, learning_rate=1e-2))
    assert result.metrics["error"] < 0.2
    assert result.head_parameters == 33


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("methods", [(LoRA(rank=2),), (Prefix(length=2),), (FullFineTuning(),)])
def test_bfloat16_runs(
    name: str,
    methods: tuple[Any, ...],
    spec_of: SpecOf,
    job_of: JobOf,
    request: pytest.FixtureRequest,
) -> None:
    bench = spec_of(request.getfixturevalue(name)).build()
    before = state_of(bench, "bfloat16")
    for pooling in ("mean", "native"):
        result = run_trial(bench, job_of(*methods, dtype="bfloat16", pooling=pooling, steps=4))
        assert result.status == "complete", result.error
    assert state_of(bench, "bfloat16") == before


def test_texts_leave_room_for_a_prompt(bench: Bench, job_of: JobOf) -> None:
    assert bench.longest == 40
    result = run_trial(bench, job_of(Prompt(length=30), steps=2, max_length=128))
    assert result.status == "complete", result.error


def test_layers_below_the_lowest_module_run_without_gradient(bench: Bench, job_of: JobOf) -> None:
    wanted: dict[int, set[bool]] = {0: set(), 1: set(), 2: set()}
    handles = [
        layer.register_forward_hook(
            lambda _, __, output, number=number: wanted[number].add(output.requires_grad)
        )
        for number, layer in enumerate(bench.model().encoder.layer)
    ]
    run_trial(bench, job_of(LoRA(rank=2, layers=(2,)), steps=2, evaluations=1))
    for handle in handles:
        handle.remove()
    assert wanted == {0: {False}, 1: {False}, 2: {True, False}}, "False alone: the evaluation"


@dataclasses.dataclass(frozen=True)
class Raises(GoodOrBad):
    """A task that cannot be scored."""

    error: Exception | None = None

    def score(self, predictions: Any, labels: Any) -> dict[str, float]:
        if self.error is None:
            return {"accuracy": float("nan")}
        raise self.error


FAILURES = [
    (ValueError("no such metric"), "error", "Traceback"),
    (MemoryError("all gone"), "out_of_memory", "all gone"),
    (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory", "CUDA out of memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory", "allocate"),
    (RuntimeError("shapes differ"), "error", "shapes differ"),
    (None, "diverged", "accuracy is nan after step 6"),
]


@pytest.mark.parametrize(("error", "cause", "words"), FAILURES, ids=lambda value: str(value)[:20])
def test_a_failure_is_data_and_the_backbone_is_clean_after_it(
    bert: Backbone,
    spec_of: SpecOf,
    job_of: JobOf,
    error: Exception | None,
    cause: str,
    words: str,
) -> None:
    spec = dataclasses.replace(spec_of(bert), task=Raises(error=error))
    bench = spec.build()
    before = state_of(bench)
    job = job_of(FullFineTuning(), learning_rate=1e-2)
    result = run_trial(bench, job)
    assert (result.status, result.cause, result.metrics) == ("failed", cause, {})
    assert words in result.error
    assert len(result.losses) == 6, "what was learnt until then is kept"
    assert state_of(bench) == before

    bench.task = spec_of(bert).task
    fresh = spec_of(bert).build()
    assert run_trial(bench, job).losses == run_trial(fresh, job).losses


def test_a_loss_that_is_not_finite_is_divergence(bench: Bench, job_of: JobOf) -> None:
    before = state_of(bench)
    result = run_trial(
        bench, job_of(LoRA(rank=2), learning_rate=1e30, clip_norm=0.0, schedule="constant")
    )
    assert (result.status, result.cause) == ("failed", "diverged")
    assert "after step" in result.error
    assert result.checkpoint is None
    assert state_of(bench) == before


def test_an_architecture_of_another_backbone_fails_by_itself(bench: Bench, job_of: JobOf) -> None:
    result = run_trial(bench, job_of(LoRA(rank=2, layers=(99,))))
    assert (result.status, result.cause) == ("failed", "error")
    assert "99" in result.error
    assert run_trial(bench, job_of()).status == "complete"


@pytest.mark.parametrize("methods", [(), *((m,) for m in (Adapter(), Prefix(), FullFineTuning()))])
def test_the_backbone_is_as_before(bench: Bench, job_of: JobOf, methods: tuple[Any, ...]) -> None:
    before = state_of(bench)
    assert run_trial(bench, job_of(*methods, learning_rate=1e-2)).status == "complete"
    assert state_of(bench) == before


@pytest.mark.parametrize("length", [37, 40, 45])
def test_a_prompt_that_leaves_no_room_says_so(bench: Bench, job_of: JobOf, length: int) -> None:
    result = run_trial(bench, job_of(Prompt(length=length), steps=2))
    assert (result.status, result.cause) == ("failed", "error")
    assert f"a prompt of {length} leaves no room for texts" in result.error
    assert run_trial(bench, job_of(Prompt(length=36), steps=2)).status == "complete"


@pytest.mark.parametrize(
    "method",
    [
        AdaLoRA(rank=4, target_rank=2),
        AdaMix(bottleneck=4),
        Adapter(bottleneck=4, drop_below=1),
        DyLoRA(rank=4),
        SoRA(rank=4, threshold=1e-3),
        SparseAdapter(bottleneck=8, sparsity=0.5),
    ],
    ids=lambda method: method.kind,
)
def test_what_is_random_in_training_repeats_too(
    bench: Bench, job_of: JobOf, method: Method
) -> None:
    job = job_of(method, steps=12, learning_rate=1e-2)
    before = state_of(bench)
    first, again = run_trial(bench, job), run_trial(bench, job)
    assert first.status == "complete", first.error
    assert first.losses == again.losses
    assert first.metrics == again.metrics
    assert state_of(bench) == before
