"""Generation side by side: each text goes on as with its architecture alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    PreTrainedModel,
)

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    LlamaAdapter,
    LoRA,
    Prefix,
    SideBySide,
    attach,
    attach_side_by_side,
)
from peftnas.methods.testing.tiny import CONFIGS

MEMBERS = [
    Architecture(LoRA(rank=2, targets=("query", "up"))),
    Architecture(Prefix(length=2), IA3(targets=("value", "down"))),
    Architecture(Adapter(site="both", bottleneck=3)),
    Architecture(LlamaAdapter(length=2)),
]
DECODERS = ("gpt2", "gpt_neox", "llama", "mistral", "gemma2", "opt")
TWO_STACKS = ("t5", "bart", "whisper")
HOW: dict[str, Any] = {
    "max_new_tokens": 6,
    "do_sample": False,
    "pad_token_id": 0,
    "eos_token_id": None,
    "output_logits": True,
    "return_dict_in_generate": True,
}

Disturb = Callable[[torch.nn.Module], None]


def model_of(name: str) -> PreTrainedModel:
    """With a head that generates, in double precision, so that no two words come near a tie."""
    head: Any = AutoModelForCausalLM
    if name in TWO_STACKS:
        head = AutoModelForSpeechSeq2Seq if name == "whisper" else AutoModelForSeq2SeqLM
    torch.manual_seed(0)
    model: PreTrainedModel = head.from_config(CONFIGS[name]()).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def inputs_of(name: str, rows: int) -> dict[str, torch.Tensor]:
    """``rows`` texts of different lengths, padded on the left, or as many sounds."""
    generator = torch.Generator().manual_seed(1)
    if name == "whisper":
        return {"input_features": torch.randn(rows, 8, 40, generator=generator).double()}
    ids = torch.randint(3, 60, (rows, 7), generator=generator)
    # in double precision the bare gemma2 answers NaN to padding on the left
    padding = torch.zeros(rows) if name == "gemma2" else torch.arange(rows) % 3
    mask = torch.arange(7) >= padding[:, None]
    return {"input_ids": ids * mask, "attention_mask": mask.long()}


def generate(
    model: PreTrainedModel, inputs: dict[str, torch.Tensor], **how: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """The words (B, T) and, of each step, the logits of all beams (B', steps, words)."""
    if model.config.model_type == "whisper":
        how["decoder_input_ids"] = torch.ones(len(inputs["input_features"]), 1, dtype=torch.long)
    found: Any = model.generate(**inputs, **HOW | how)
    return found.sequences, torch.stack(found.logits, dim=1)


def alone(
    model: PreTrainedModel,
    architecture: Architecture,
    inputs: dict[str, torch.Tensor],
    disturb: Disturb,
    **how: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    attached = attach(model, architecture)
    disturb(attached)
    attached.eval()
    found = generate(model, inputs, **how)
    attached.detach()
    return found


def together(model: PreTrainedModel, members: list[Architecture], disturb: Disturb) -> SideBySide:
    several = attach_side_by_side(model, members)
    for member in several.members:
        disturb(member)
        member.eval()
    return several


def compare(
    name: str,
    members: list[Architecture],
    numbers: list[int],
    disturb: Disturb,
    beams: int = 1,
) -> None:
    """Each architecture continues its own rows as it does alone."""
    model = model_of(name)
    inputs = inputs_of(name, len(numbers))
    several = together(model, members, disturb)
    with several.rows(numbers, repeats=beams):
        words, logits = generate(model, inputs, num_beams=beams)
    several.detach()
    spoken = set()
    for number in set(numbers):
        rows = [row for row, owner in enumerate(numbers) if owner == number]
        own = {key: value[rows] for key, value in inputs.items()}
        expected, its_logits = alone(model, members[number], own, disturb, num_beams=beams)
        assert torch.equal(words[rows], expected)
        copies = [row * beams + copy for row in rows for copy in range(beams)]
        if name != "whisper" or beams == 1:  # it gives the logits of other beams than the best
            assert_close(logits[copies], its_logits, atol=1e-6, rtol=1e-6)
        spoken.add(its_logits[0].sum().item())
    assert len(spoken) == len(set(numbers))


@pytest.mark.parametrize("name", [*DECODERS, *TWO_STACKS])
def test_different_members_in_one_batch(name, disturb):
    members = MEMBERS if name in DECODERS else MEMBERS[:3]
    compare(name, members, [2, 0, len(members) - 1, 1, 0], disturb)


@pytest.mark.parametrize("name", ["bart", "gpt2", "llama", "t5"])
def test_a_member_without_rows(name, disturb):
    compare(name, MEMBERS[:3], [2, 0, 2], disturb)


@pytest.mark.parametrize("name", ["gpt2", "llama", *TWO_STACKS])
def test_beams(name, disturb):
    compare(name, MEMBERS[:3], [2, 0, 1, 0], disturb, beams=3)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", ["gpt2", "llama", *TWO_STACKS])
def test_gates_that_remember(name, beams, disturb):
    """The means of causal gates go along with the texts that a search keeps."""
    causal: dict[str, Any] = {"gate": "unipelt", "gate_tokens": "causal"}
    members = [
        Architecture(LoRA(rank=2, alpha=40.0, **causal)),
        Architecture(LoRA(rank=2, alpha=20.0, targets=("query", "up"), **causal)),
        Architecture(Adapter(site="both", bottleneck=3, **causal)),
        Architecture(),
    ]
    compare(name, members, [2, 0, 3, 1, 0], disturb, beams)


def test_a_static_cache(disturb):
    model = model_of("llama")
    inputs = inputs_of("llama", 3)
    several = together(model, MEMBERS[:3], disturb)
    found = []
    for cache in ("dynamic", "static"):
        with several.rows([2, 0, 1]):
            found.append(generate(model, inputs, cache_implementation=cache))
    assert torch.equal(found[0][0], found[1][0])
    assert_close(found[0][1], found[1][1], atol=1e-6, rtol=1e-6)


def test_one_mask_of_what_may_be_seen_for_all_rows(disturb):
    model = model_of("llama").base_model
    members = [Architecture(Adapter(bottleneck=3, gate="unipelt")), Architecture(LoRA(rank=2))]
    ids = inputs_of("llama", 3)["input_ids"]
    seen = torch.ones(1, 1, 7, 7, dtype=torch.bool).tril()
    several = together(model, members, disturb)
    with several.rows([0, 1, 0]), torch.no_grad():
        out = model(ids, attention_mask=seen).last_hidden_state
        expected = model(ids).last_hidden_state
    assert_close(out, expected, atol=1e-6, rtol=1e-6)


def test_rows_written_out_for_each_beam(disturb):
    model = model_of("gpt2")
    inputs = inputs_of("gpt2", 2)
    several = together(model, MEMBERS[:2], disturb)
    found = []
    for numbers, repeats in (([0, 1], 3), ([0, 0, 0, 1, 1, 1], 1)):
        with several.rows(numbers, repeats=repeats):
            found.append(generate(model, inputs, num_beams=3))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
