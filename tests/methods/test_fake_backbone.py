"""Costs on long texts: masks of tokens by tokens have shapes and no memory."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig

from peftnas.methods import LoRA, Prefix, Prompt, costs, fake_backbone, predicted_costs
from peftnas.methods.testing.tiny import CONFIGS

LONG = 99_999


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("method", [LoRA(rank=2), Prefix(length=2), Prompt(length=2)])
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gemma2", "t5", "bart", "opt"])
def test_the_costs_are_those_with_real_masks(monkeypatch, name, method, padded):
    config = CONFIGS[name]()
    real = costs(method, config, batch=2, tokens=7, padded=padded, outputs=2)
    monkeypatch.setattr(fake_backbone, "LARGE", 40)
    predicted_costs._bare.cache_clear()
    assert costs(method, config, batch=2, tokens=7, padded=padded, outputs=2) == real
    predicted_costs._bare.cache_clear()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("method", [LoRA(rank=2), Prefix(length=2), Prompt(length=2)])
def test_a_text_whose_mask_would_fill_the_memory(method, padded):
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=2 * LONG,
    )
    # 64 rows of 10^10 numbers each
    found = costs(method, config, batch=64, tokens=LONG, padded=padded)
    assert found.train_memory.activations > 64 * LONG * 16 * 4
