"""A prompt in a generation with a static cache, whose masks are made for the text alone."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, StaticCache

from peftnas.methods import (
    Architecture,
    LlamaAdapter,
    LoRA,
    Prefix,
    Prompt,
    PTuning,
    attach,
)
from peftnas.methods.generation_masks import text_mask
from tests.methods.conftest import CONFIGS

IDS = torch.tensor([[5, 6, 7, 8, 9], [3, 9, 8, 7, 6]])
LEFT, RIGHT = IDS.clone(), IDS.clone()
LEFT[1, :2] = RIGHT[1, 3:] = 0
TEXTS = {
    "full": {"input_ids": IDS},
    "left": {"input_ids": LEFT, "attention_mask": (LEFT != 0).long()},
    "right": {"input_ids": RIGHT, "attention_mask": (RIGHT != 0).long()},
}
METHODS = {
    "prompt": [Prompt(length=3)],
    "beside a prefix": [Prefix(length=2), Prompt(length=2)],
    "beside a causal gate": [LoRA(rank=2, gate="unipelt", gate_tokens="causal"), Prompt(length=2)],
    "beside branches": [LlamaAdapter(length=2), PTuning(length=2)],
}
MORE = ("opt_post_norm", "gpt_neox", "qwen2", "qwen3", "gemma")
FAMILIES = ["llama", "gpt2", "opt", *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)]
SETTINGS = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}


def language_model(name, attention="sdpa"):
    torch.manual_seed(0)
    config = CONFIGS[name]()
    config.pad_token_id = 0
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("methods", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_are_those_of_a_dynamic_cache(name, methods, text, beams, disturb):
    model = language_model(name)
    disturb(attach(model, Architecture(*METHODS[methods])).eval())
    settings = TEXTS[text] | SETTINGS | {"num_beams": beams}
    dynamic = model.generate(**settings)
    assert torch.equal(model.generate(**settings, cache_implementation="static"), dynamic)


@pytest.mark.parametrize("text", ["full", "right"])
@pytest.mark.parametrize("position", ["before", "after_first"])
@pytest.mark.parametrize(
    ("name", "attention"),
    [("llama", "eager"), ("gpt2", "eager"), ("gpt2", "sdpa"), ("gemma2", "eager")],
)
def test_at_each_place_and_with_each_attention(attention, name, position, text, disturb):
    model = language_model(name, attention)
    disturb(attach(model, Architecture(Prompt(length=3, position=position))).eval())
    settings = TEXTS[text] | SETTINGS
    dynamic = model.generate(**settings)
    assert torch.equal(model.generate(**settings, cache_implementation="static"), dynamic)


@torch.no_grad()
def test_a_cache_of_the_user(disturb):
    model = language_model("llama")
    disturb(attach(model, Architecture(Prompt(length=3))).eval())
    dynamic = model.generate(IDS, **SETTINGS)
    cache = StaticCache(model.config, max_cache_len=11)  # of the text: the prompt adds to it
    assert torch.equal(model.generate(IDS, **SETTINGS, past_key_values=cache), dynamic)
    cache.reset()
    assert torch.equal(model.generate(IDS, **SETTINGS, past_key_values=cache), dynamic)
    cache.reset()
    with pytest.raises(ValueError, match=r"a prompt of 3 with \d+ tokens needs room"):
        model.generate(IDS, **SETTINGS | {"max_new_tokens": 12}, past_key_values=cache)


@pytest.mark.parametrize("text", TEXTS)
def test_windows_in_every_layer_are_refused_at_the_first_step(text):
    model = language_model("mistral")
    attach(model, Architecture(Prompt(length=2))).eval()
    steps = []
    model.lm_head.register_forward_hook(lambda *_: steps.append(1))
    with pytest.raises(ValueError, match="padding .* slides in every layer; take a dynamic cache"):
        model.generate(**TEXTS[text], **SETTINGS, cache_implementation="static")
    assert not steps


def causal(steps, keys, past):
    return (torch.arange(keys) <= torch.arange(steps)[:, None] + past)[None, None]


class TestReadBack:
    def test_a_mask_of_a_text_stays_as_it_is(self):
        mask = torch.ones(2, 4)
        assert text_mask(mask, 0, 4, 0) is mask and text_mask(None, 0, 4, 0) is None
        assert text_mask({"full_attention": None, "sliding_attention": mask}, 0, 4, 0) is None

    @pytest.mark.parametrize("added", [False, True])
    def test_padding_is_read_off_the_last_query(self, added):
        mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
        seen = causal(5, 9, 0) & torch.nn.functional.pad(mask, (0, 4)).bool()[:, None, None]
        if added:
            seen = torch.zeros(seen.shape).masked_fill(~seen, torch.finfo(torch.float32).min)
        assert torch.equal(text_mask(seen, 0, 5, 0), mask)
        assert torch.equal(text_mask({"full_attention": seen}, 0, 5, 0), mask)

    def test_keys_of_a_prompt_count_in_the_cache_alone(self):
        assert torch.equal(text_mask(causal(1, 12, 8), 5, 1, 3), torch.ones(1, 6).long())

    @pytest.mark.parametrize(
        "mask",
        [
            torch.ones(1, 1, 4, 4, dtype=torch.bool),  # sees later tokens
            torch.eye(4, dtype=torch.bool)[None, None],  # sees itself alone
            torch.ones(1, 2, 4, 4, dtype=torch.bool),
            torch.ones(1, 4, 4),
            {"sliding_attention": torch.ones(1, 1, 4, 4)},
        ],
    )
    def test_another_mask_is_refused(self, mask):
        with pytest.raises(ValueError, match="a prompt needs an attention_mask of shape"):
            text_mask(mask, 0, 4, 0)
