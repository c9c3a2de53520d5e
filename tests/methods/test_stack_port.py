"""Prompts at the base model: positions, masks, types, caches; the mask of real tokens."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from peftnas.methods import Architecture, LoRA, Prompt, ReFT, attach
from tests.methods.conftest import CONFIGS


def attach_prompt(model, **settings):
    attached = attach(model, Architecture(Prompt(length=2, **settings)))
    return attached, attached.at("embeddings", "prompt").embedding.detach()


@pytest.mark.parametrize("position", ["before", "after_first"])
def test_word_embeddings_by_hand(position, backbone, batch, build_backbone):
    plain = build_backbone(backbone.config.model_type)
    attached, prompt = attach_prompt(backbone, position=position)
    split = 0 if position == "before" else 1
    words = plain.get_input_embeddings()(batch["input_ids"])
    rows = prompt.expand(3, -1, -1)
    embeds = torch.cat([words[:, :split], rows, words[:, split:]], 1)
    mask = torch.cat([torch.ones(3, 2, dtype=torch.long), batch["attention_mask"]], 1)
    expected = plain(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    actual = backbone(**batch).last_hidden_state
    assert_close(actual, expected)
    keep = [0, *range(3, 9)] if split else list(range(2, 9))
    assert torch.equal(attached.real(actual), actual[:, keep])
    by_place = backbone(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    assert torch.equal(by_place, actual)


@pytest.mark.parametrize("name", ["bert", "roberta", "electra", "distilbert"])
def test_bare_entry_keeps_positions_and_skips_the_norm(name, build_backbone, batch):
    model, plain = build_backbone(name), build_backbone(name)
    _, prompt = attach_prompt(model, entry="hidden")
    seen = []
    target = model.embeddings_project if name == "electra" else _stack(model)
    handle = target.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    out = model(**batch).last_hidden_state
    handle.remove()
    assert out.shape == (3, 9, 16)
    embedded = plain.embeddings(batch["input_ids"])
    assert_close(seen[0], torch.cat([prompt.expand(3, -1, -1), embedded], 1))


def _stack(model):
    return model.transformer if hasattr(model, "transformer") else model.encoder


def test_given_positions_and_types(build_backbone, batch):
    model = build_backbone("bert")
    _, prompt = attach_prompt(model)
    places = torch.arange(7).expand(3, -1)
    types = torch.ones(3, 7, dtype=torch.long)
    explicit = model(**batch, position_ids=places, token_type_ids=types).last_hidden_state
    wide = torch.cat([torch.zeros(3, 2, dtype=torch.long), types], 1)
    plain = build_backbone("bert")
    words = plain.get_input_embeddings()(batch["input_ids"])
    expected = plain(
        inputs_embeds=torch.cat([prompt.expand(3, -1, -1), words], 1),
        attention_mask=torch.cat([wide[:, :2] + 1, batch["attention_mask"]], 1),
        token_type_ids=wide,
    ).last_hidden_state
    assert_close(explicit, expected)


def test_both_entries_are_one_with_rotary_positions(build_backbone, batch):
    outs = []
    for entry in ("word_embeddings", "hidden"):
        model = build_backbone("llama")
        attach_prompt(model, entry=entry)
        outs.append(model(**batch).last_hidden_state)
    assert torch.equal(*outs)


def test_two_prompts_follow_each_other(build_backbone, batch):
    model = build_backbone("bert")
    attached = attach(model, Architecture(Prompt(length=2), Prompt(length=1)))
    assert attached.prompt_length == 3
    assert model(**batch).last_hidden_state.shape == (3, 10, 16)


def test_generation_with_and_without_a_cache(build_backbone):
    model = AutoModelForCausalLM.from_config(build_backbone("llama").config).eval()
    attach_prompt(model)
    ids = torch.randint(3, 60, (2, 5))
    mask = torch.ones_like(ids)
    with torch.no_grad():
        for _ in range(3):
            logits = model(ids, attention_mask=mask, use_cache=False).logits[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
            mask = torch.ones_like(ids)
        first = model(ids[:, :5], attention_mask=mask[:, :5], use_cache=True)
        cache = first.past_key_values
        steps = [first.logits[:, -1].argmax(-1)]
        for end in (6, 7):
            places = torch.full((2, 1), end - 1)
            out = model(
                ids[:, end - 1 : end],
                attention_mask=mask[:, :end],
                position_ids=places,
                past_key_values=cache,
                use_cache=True,
            )
            steps.append(out.logits[:, -1].argmax(-1))
    assert torch.equal(torch.stack(steps, 1), ids[:, 5:])


def test_mask_of_other_shape_is_refused(build_backbone, batch):
    model = build_backbone("bert")
    attach_prompt(model)
    with pytest.raises(ValueError, match=r"shape \(batch, tokens\)"):
        model(batch["input_ids"], attention_mask=torch.ones(3, 1, 7, 7, dtype=torch.bool))


@pytest.mark.parametrize("prompted", [False, True])
def test_gates_see_the_real_tokens(prompted, build_backbone, batch):
    model = build_backbone("bert")
    methods = [LoRA(rank=1, gate="unipelt"), *([Prompt(length=2)] if prompted else [])]
    attached = attach(model, Architecture(*methods))
    module, seen = attached.at("layers[0].attention.query", "lora"), []
    module.gate.register_forward_pre_hook(lambda m, args: seen.append(args[1]))
    model(**batch)
    expected = batch["attention_mask"].bool()
    if prompted:
        expected = torch.cat([torch.ones(3, 2, dtype=torch.bool), expected], 1)
    assert torch.equal(seen[0], expected)
    model(batch["input_ids"])
    assert prompted or seen[1] is None


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "opt", "bart", "deberta", "electra"])
def test_longer_than_the_table_of_positions(name, build_backbone):
    model = build_backbone(name)
    attached = attach(model, Architecture(Prompt(length=38)))
    ids = torch.full((1, 30), 5)
    with pytest.raises(ValueError, match="a prompt of 38 with 30 tokens exceeds .* shorten"):
        model(input_ids=ids)
    attached.detach()
    longest = SIZES_OF_TABLES[name] - 30
    attach(model, Architecture(Prompt(length=longest)))
    assert model(input_ids=ids).last_hidden_state.isfinite().all()
    with pytest.raises(ValueError, match="exceeds"):
        model(input_ids=torch.full((1, 31), 5))


SIZES_OF_TABLES = dict.fromkeys(("bert", "gpt2", "opt", "bart", "deberta", "electra"), 40)
SIZES_OF_TABLES["roberta"] = 40 - 1  # it counts from the place after that of padding


@torch.no_grad()
def test_edits_of_tokens_pass_by_a_prompt(build_backbone, batch):
    """ReFT edits the first real token, not the first vector of a prompt."""
    model = build_backbone("bert")
    prompt, edit = Prompt(length=3), ReFT(rank=2, first=1, last=0, layers=(2,))
    attached = attach(model, Architecture(prompt)).eval()
    alone = model(**batch).last_hidden_state
    attached.detach()
    attach(model, Architecture(prompt, edit)).eval()
    changed = (model(**batch).last_hidden_state != alone).any(dim=-1)
    assert changed.nonzero().tolist() == [[row, 3] for row in range(3)]


@pytest.mark.parametrize("method", [Prompt(length=3), ReFT(rank=2)], ids=["prompt", "reft"])
@torch.no_grad()
def test_a_state_instead_of_a_cache(method, disturb):
    """Mamba keeps a state; a prompt enters once, and only the text before it is edited."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS["mamba"]()).eval()
    attached = attach(model, Architecture(method)).eval()
    disturb(attached)
    ids = torch.tensor([[5, 6, 7, 8]])
    first = model(ids, use_cache=True)
    step = model(torch.tensor([[9]]), cache_params=first.cache_params)
    assert step.logits.shape[1] == 1
    if isinstance(method, Prompt):
        whole = model(torch.tensor([[5, 6, 7, 8, 9]])).logits[:, -1]
        assert_close(step.logits[:, -1], whole, atol=1e-5, rtol=1e-4)
    else:
        attached.detach()
        plain = model(torch.tensor([[9]]), cache_params=model(ids, use_cache=True).cache_params)
        assert not torch.equal(plain.logits, step.logits)  # through the state alone
