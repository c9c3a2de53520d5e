"""Attention over a prefix: closed form, masks, caches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, StaticCache

from peftnas.methods import Architecture, Prefix, attach
from peftnas.methods.attention import KEYWORD, Extra, prefix_eager, prefix_sdpa


class Layer(torch.nn.Module):
    """What attention functions ask of an attention module."""

    num_key_value_groups = 2

    def __init__(self, is_causal, implementation):
        super().__init__()
        self.is_causal = is_causal
        self.config = type("Config", (), {"_attn_implementation": implementation})


# the family's eager function is looked up beside the class of the module
def eager_attention_forward(module, *args, **kwargs):
    from transformers.models.llama.modeling_llama import eager_attention_forward as of_llama

    return of_llama(module, *args, **kwargs)


def closed_form(query, key, value, prefix, visible):
    key, value = (
        torch.cat(pair, 2).repeat_interleave(2, 1)
        for pair in zip(prefix, (key, value), strict=True)
    )
    scores = query @ key.transpose(2, 3) * 0.5
    columns = torch.ones(*visible.shape[:-1], prefix[0].shape[2], dtype=torch.bool)
    scores = scores.masked_fill(~torch.cat([columns, visible], -1), float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("function", [prefix_sdpa, prefix_eager])
@pytest.mark.parametrize("case", ["causal", "bidirectional", "padded", "step", "static cache"])
def test_closed_form(function, case):
    torch.manual_seed(0)
    steps, room = (1 if case == "step" else 4), (7 if case == "static cache" else 4)
    query = torch.randn(2, 4, steps, 4)
    key, value = torch.randn(2, 2, 2, room, 4).unbind(0)
    prefix = tuple(torch.randn(2, 2, 2, 3, 4).unbind(0))
    implementation = "peftnas_sdpa" if function is prefix_sdpa else "peftnas_eager"
    module = Layer(case in ("causal", "step", "static cache"), implementation)
    visible = torch.ones(2, 1, steps, 4, dtype=torch.bool)
    mask = None
    if case in ("causal", "static cache"):
        visible = visible.tril()
    if case == "padded":
        visible[1, :, :, 2:] = False
        mask = visible
        if function is prefix_eager:
            mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo().min)
    extra = {KEYWORD: Extra(prefix, [])}
    out, weights = function(module, query, key, value, mask, scaling=0.5, **extra)
    assert_close(out, closed_form(query, key[:, :, :4], value[:, :, :4], prefix, visible))
    if function is prefix_eager:
        assert weights.shape == (2, 4, steps, 4)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2"])
def test_generation_with_and_without_a_cache(name, build_backbone, disturb):
    model = AutoModelForCausalLM.from_config(build_backbone(name).config).eval()
    attached = attach(model, Architecture(Prefix(length=3)))
    disturb(attached)
    ids = torch.randint(3, 60, (2, 5))
    arguments = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": 4,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    with_cache, without = (
        model.generate(ids, use_cache=use_cache, **arguments) for use_cache in (True, False)
    )
    assert torch.equal(with_cache, without)
    full = model(ids, attention_mask=torch.ones_like(ids)).logits
    cache = StaticCache(config=model.config, max_cache_len=9)
    static = model(ids, past_key_values=cache, use_cache=True).logits
    assert_close(static, full, atol=1e-4, rtol=1e-4)


def test_function_is_switched_only_while_a_prefix_is_attached(build_backbone):
    for implementation in ("sdpa", "eager"):
        model = build_backbone("bert", attention=implementation)
        attached = attach(model, Architecture(Prefix(length=1)))
        assert model.config._attn_implementation == f"peftnas_{implementation}"
        attached.detach()
        assert model.config._attn_implementation == implementation
    attach(model, Architecture())
    assert model.config._attn_implementation == "eager"


def test_other_attention_is_refused(build_backbone):
    model = build_backbone("bert")
    model.set_attn_implementation("flex_attention")
    with pytest.raises(ValueError, match="sdpa or eager, got 'flex_attention'"):
        attach(model, Architecture(Prefix(length=1)))
    attach(model, Architecture())


def test_switching_under_a_prefix_is_noticed(build_backbone, batch):
    model = build_backbone("bert")
    attach(model, Architecture(Prefix(length=1)))
    model.set_attn_implementation("sdpa")
    with pytest.raises(RuntimeError, match="got 'sdpa'; do not change it"):
        model(**batch)


def test_a_copy_without_a_prefix_is_not_disturbed(build_backbone, batch):
    model = build_backbone("bert")
    other = copy.deepcopy(model)
    other.config = model.config
    before = other(**batch).last_hidden_state
    attach(model, Architecture(Prefix(length=2)))
    assert_close(other(**batch).last_hidden_state, before)


@pytest.mark.parametrize("parts", [("eager", "sdpa"), ("sdpa", "eager"), ("eager", "eager")])
def test_parts_of_a_model_keep_their_own_attention(parts, build_backbone):
    model = build_backbone("clip")
    names = ("text_config", "vision_config")
    model.set_attn_implementation(dict(zip(names, parts, strict=True)))

    def found():
        return [getattr(model.config, name)._attn_implementation for name in names]

    attached = attach(model, Architecture(Prefix(length=2)))
    assert found() == [f"peftnas_{part}" for part in parts]
    attached.detach()
    assert found() == list(parts)
