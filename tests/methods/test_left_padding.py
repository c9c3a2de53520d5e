"""Padding on the left: real tokens come out as they do without padding."""

from __future__ import annotations

import pytest
import torch

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    LlamaAdapter,
    LoRA,
    Prefix,
    Prompt,
    attach,
)
from tests.methods.conftest import VOCABULARY

METHODS = [
    LoRA(gate="unipelt"),
    Adapter(gate="unipelt", insertion="parallel", parallel_input="residual"),
    IA3(),
    Prefix(length=3, gate="unipelt"),
    Prefix(length=2, mlp=4),
    Prompt(length=3),
    LlamaAdapter(length=2),
]
# a sliding window counts the padding between a prompt and the tokens
RUNS = [
    (name, method)
    for name in ("llama", "mistral", "qwen2", "gpt_neox", "gemma2")
    for method in METHODS
    if name not in ("mistral", "gemma2") or not isinstance(method, Prompt)
]


@pytest.mark.parametrize(("name", "method"), RUNS, ids=str)
def test_rotary_backbones_take_it_without_given_positions(name, method, build_backbone, disturb):
    model = build_backbone(name)
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (2, 6))
    padded = torch.cat([ids.new_zeros(2, 3), ids], dim=1)
    padded[1, :3] = ids[1, :3]  # one row is full, the other begins with padding
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1], [1] * 9])
    with torch.no_grad():
        attached = attach(model, Architecture(method)).eval()
        disturb(attached)
        short = attached.real(model(ids[:1]).last_hidden_state)
        full = attached.real(model(padded[1:]).last_hidden_state)
        out = attached.real(model(padded, attention_mask=mask).last_hidden_state)
        torch.testing.assert_close(out[:1, 3:], short, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(out[1:], full, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", [Prefix(length=3), Prompt(length=3)], ids=["prefix", "prompt"])
def test_a_cache_goes_on_from_the_same_positions(method, build_backbone, disturb):
    model = build_backbone("llama")
    ids = torch.tensor([[0, 0, 5, 6, 7, 8], [3, 4, 5, 6, 7, 8]])
    mask = (ids != 0).long()
    with torch.no_grad():
        attached = attach(model, Architecture(method)).eval()
        disturb(attached)
        whole = model(ids, attention_mask=mask).last_hidden_state[:, -1]
        first = model(ids[:, :-1], attention_mask=mask[:, :-1], use_cache=True)
        last = model(
            ids[:, -1:], attention_mask=mask, past_key_values=first.past_key_values
        ).last_hidden_state[:, -1]
        torch.testing.assert_close(last, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("llama", Prompt(length=2, position="after_first")),
        ("mistral", Prompt(length=2)),
        ("roberta", Prompt(length=2)),
    ],
    ids=str,
)
def test_prompts_that_padding_would_move_refuse_it(name, prompt, build_backbone):
    model = build_backbone(name)
    attach(model, Architecture(prompt))
    ids = torch.tensor([[3, 4, 5, 6]])
    model(ids, attention_mask=torch.tensor([[1, 1, 1, 0]]))
    with pytest.raises(ValueError, match="padded on the right"):
        model(ids, attention_mask=torch.tensor([[0, 1, 1, 1]]))


@pytest.mark.parametrize("name", ["t5", "t5_gated", "mamba", "deberta", "mistral", "roberta"])
def test_a_prompt_is_refused_where_padding_would_stand_between(name, build_backbone):
    """Distances, states and windows would count what is between a prompt and its text."""
    model = build_backbone(name)
    attach(model, Architecture(Prompt(length=3)))
    ids, mask = torch.tensor([[1, 1, 5, 6, 7]]), torch.tensor([[0, 0, 1, 1, 1]])
    words = {"decoder_input_ids": ids} if "t5" in name else {}
    with pytest.raises(ValueError, match="padded on the right, got padding on the left; set"):
        model(input_ids=ids, attention_mask=mask, **words)
    model(input_ids=ids, attention_mask=mask.flip(1), **words)
