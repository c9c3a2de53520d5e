"""Overhead against the bare backbone: exactly 0 where everything merges, else above it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    BitFit,
    LoRA,
    Method,
    Prefix,
    Prompt,
    describe,
)
from peftnas.methods.reads import Reads
from peftnas.methods.testing.tiny import build
from peftnas.search.backbone import Backbone
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.search.trial.overhead import DECODE, OVERHEADS, PREFILL, measure_overheads, overhead
from tests.search.conftest import JobOf, SpecOf
from tests.search.trial.test_fine_tune import state_of


def measured(bench: Bench, *methods: Method, names: tuple[str, ...] = OVERHEADS) -> dict[str, Any]:
    return measure_overheads(
        bench.model(),
        Architecture(*methods),
        bench.anatomy,
        names,
        reads=Reads(1, 12),
        longest=bench.longest,
    )


@pytest.fixture(scope="module")
def encoder(bert: Backbone, spec_of: SpecOf) -> Bench:
    return spec_of(bert).build()


@pytest.fixture(scope="module")
def decoder(llama: Backbone, spec_of: SpecOf) -> Bench:
    return spec_of(llama).build()


@pytest.mark.parametrize("methods", [(), (LoRA(rank=2),), (IA3(), LoRA(rank=2)), (BitFit(),)])
def test_what_merges_has_exactly_none(encoder: Bench, methods: tuple[Method, ...]) -> None:
    assert measured(encoder, *methods, names=(PREFILL,)) == {PREFILL: 0.0}


@pytest.mark.parametrize(
    "methods",
    [
        (Adapter(bottleneck=4),),
        (Prefix(length=3),),
        (Prompt(length=60),),
        (LoRA(rank=2), Adapter(bottleneck=4, insertion="parallel")),
        (LoRA(rank=2, gate="unipelt", gate_tokens="causal"),),
    ],
)
def test_what_remains_is_timed_for_texts_and_for_words(
    decoder: Bench, methods: tuple[Method, ...]
) -> None:
    before = state_of(decoder)
    found = measured(decoder, *methods)
    assert set(found) == {PREFILL, DECODE}
    assert all(0 <= value < math.inf for value in found.values())
    assert state_of(decoder) == before
    assert measured(decoder, *methods, names=(DECODE, "train_step_s")).keys() == {DECODE}


def test_a_merged_decoder_has_none(decoder: Bench) -> None:
    assert measured(decoder, LoRA(rank=2)) == {PREFILL: 0.0, DECODE: 0.0}


def test_an_encoder_decoder_adds_words_to_its_own_cache() -> None:
    model = build("t5").eval().requires_grad_(False)
    found = measure_overheads(
        model,
        Architecture(Adapter(bottleneck=2)),
        describe(model),
        OVERHEADS,
        reads=Reads(1, 6),
        longest=40,
    )
    assert set(found) == {PREFILL, DECODE}
    assert all(0 <= value < math.inf for value in found.values())


def test_a_gate_over_a_whole_text_cannot_decode(decoder: Bench) -> None:
    gated = LoRA(rank=2, gate="unipelt")
    with pytest.raises(ValueError, match="decode_overhead needs modules that go on word by word"):
        measured(decoder, gated)
    assert measured(decoder, gated, names=(PREFILL,)).keys() == {PREFILL}


def test_a_trial_measures_what_its_job_asks_for(encoder: Bench, job_of: JobOf) -> None:
    import dataclasses

    job = job_of(Adapter(bottleneck=2), steps=4)
    plain = run_trial(encoder, job)
    asked = run_trial(encoder, dataclasses.replace(job, measure=("inference_overhead",)))
    assert plain.measured.keys() == {"train_memory_bytes", "train_step_s"}
    assert asked.measured.keys() == {"train_memory_bytes", "train_step_s", PREFILL}
    assert asked.losses == plain.losses and asked.curve == plain.curve


def test_the_slower_of_two_calls_has_the_overhead() -> None:
    calls: list[str] = []
    matrix = torch.eye(100)

    def work(times: int) -> None:
        for _ in range(times):
            torch.mm(matrix, matrix)

    def slow() -> None:
        calls.append("slow")
        work(40)

    def fast() -> None:
        calls.append("fast")
        work(10)

    assert overhead(slow, fast, 12) > 0
    assert overhead(fast, slow, 12) == 0.0
    assert calls.count("slow") == calls.count("fast")
    assert torch.is_grad_enabled()
