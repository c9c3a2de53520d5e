"""What causal gates remember goes where the cache goes: every way of decoding gives one answer."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import transformers
from torch.testing import assert_close

from peftnas.methods import Adapter, Architecture, LoRA, attach, attach_side_by_side
from tests.methods.conftest import CONFIGS, VOCABULARY

CAUSAL = {"gate": "unipelt", "gate_tokens": "causal"}
GATED = Architecture(LoRA(rank=2, **CAUSAL), Adapter(bottleneck=3, **CAUSAL))


def decoder(name="llama", architecture=GATED, dtype=torch.float32):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]()).eval().to(dtype)
    attached = attach(model, architecture).eval()
    strengthen(attached)
    return model, attached


def strengthen(attached) -> None:
    """Deltas and gates that differ clearly from token to token."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in attached.named_parameters():
        std = 3.0 if "gate" in name else 0.3
        torch.nn.init.normal_(parameter, std=std, generator=generator)


def ids_of(rows, steps, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (rows, steps), generator=generator)


@torch.no_grad()
def step_by_step(model, ids, first, cache=None):
    """The last hidden states of ``ids``, the first of them at once, the others one by one."""
    out = model.base_model(ids[:, :first], past_key_values=cache, use_cache=True)
    found = [out.last_hidden_state]
    for t in range(first, ids.shape[1]):
        out = model.base_model(ids[:, t : t + 1], past_key_values=out.past_key_values)
        found.append(out.last_hidden_state)
    return torch.cat(found, dim=1), out.past_key_values


def test_two_caches_beside_each_other():
    model, _ = decoder()
    one, other = ids_of(1, 6, seed=2), ids_of(1, 6, seed=3)
    with torch.no_grad():
        caches = [model.base_model(ids[:, :5], use_cache=True) for ids in (one, other)]
        for ids, out in zip((one, other), caches, strict=True):
            last = model.base_model(ids[:, 5:], past_key_values=out.past_key_values)
            whole = model.base_model(ids, use_cache=False)
            assert_close(last.last_hidden_state[:, -1], whole.last_hidden_state[:, -1])


def test_with_gradients_as_without():
    model, _ = decoder()
    ids = ids_of(2, 6)
    out = model.base_model(ids[:, :4], use_cache=True)
    out = model.base_model(ids[:, 4:], past_key_values=out.past_key_values)
    whole = model.base_model(ids, use_cache=False).last_hidden_state
    assert_close(out.last_hidden_state, whole[:, 4:])


def test_a_long_text_in_16_bits():
    """bfloat16 counts to 256 and no further."""
    torch.manual_seed(0)
    config = CONFIGS["llama"]()
    config.max_position_embeddings = 600
    model = transformers.AutoModelForCausalLM.from_config(config).eval().to(torch.bfloat16)
    attached = attach(model, Architecture(Adapter(bottleneck=2, layers=(0,), **CAUSAL))).eval()
    strengthen(attached)
    [(_, adapter)] = attached.placed
    seen = []
    adapter.gate.register_forward_hook(lambda gate, args, opened: seen.append((args[0], opened)))
    ids = ids_of(1, 340)
    step_by_step(model, ids, 330)
    read = torch.cat([x for x, _ in seen], dim=1).float()
    gate = adapter.gate
    weight, bias = gate.weight.bfloat16().float(), gate.bias.bfloat16().float()
    expected = torch.sigmoid(read @ weight.T + bias).mean(dim=1)
    assert_close(seen[-1][1][:, -1].float(), expected, atol=1e-2, rtol=1e-2)


@torch.no_grad()
def test_a_cache_cut_back():
    model, _ = decoder()
    ids, other = ids_of(1, 8), ids_of(1, 8, seed=4)
    ids[:, :5] = other[:, :5]
    _, cache = step_by_step(model, other, 6)
    cache.crop(-3)
    rest = model.base_model(ids[:, 5:], past_key_values=cache).last_hidden_state
    assert_close(rest, model.base_model(ids, use_cache=False).last_hidden_state[:, 5:])


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2"])
def test_guessed_tokens_are_taken_back(name):
    model, _ = decoder(name)
    ids = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]])
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None}
    greedy = model.generate(ids, **settings, use_cache=False, pad_token_id=0)
    guessed = model.generate(ids, **settings, prompt_lookup_num_tokens=2, pad_token_id=0)
    assert torch.equal(guessed, greedy)


@pytest.mark.parametrize("change", ["batch_select_indices", "reorder_cache"])
@torch.no_grad()
def test_sequences_chosen_out_of_a_cache(change):
    model, _ = decoder()
    ids = ids_of(3, 6)
    rows = torch.tensor([2, 0])
    out = model.base_model(ids[:, :5], use_cache=True)
    getattr(out.past_key_values, change)(rows)
    last = model.base_model(ids[rows, 5:], past_key_values=out.past_key_values)
    whole = model.base_model(ids[rows], use_cache=False).last_hidden_state
    assert_close(last.last_hidden_state[:, -1], whole[:, -1])


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))]
)
@torch.no_grad()
def test_a_copy_is_a_cache_of_its_own(copied):
    model, _ = decoder()
    ids = ids_of(2, 6)
    cache = model.base_model(ids[:, :5], use_cache=True).past_key_values
    other = copied(cache)
    assert isinstance(other, transformers.DynamicCache)
    other.reorder_cache(torch.tensor([1, 0]))
    whole = model.base_model(ids, use_cache=False).last_hidden_state[:, -1]
    first = model.base_model(ids[:, 5:], past_key_values=cache).last_hidden_state[:, -1]
    swapped = model.base_model(ids.flip(0)[:, 5:], past_key_values=other).last_hidden_state[:, -1]
    assert_close(first, whole)
    assert_close(swapped, whole.flip(0))


@torch.no_grad()
def test_a_cache_that_the_gates_have_not_read_is_refused():
    model, attached = decoder()
    ids = ids_of(1, 5)
    attached.detach()
    cache = model.base_model(ids, use_cache=True).past_key_values
    attach(model, GATED)
    with pytest.raises(RuntimeError, match="cache of 5 that it has not read; begin"):
        model.base_model(ids[:, -1:], past_key_values=cache)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "gemma2", "mistral"])
def test_padding_in_front_is_not_read(name, cache):
    """A static cache hands down masks of what may be attended to, in place of padding."""
    model, _ = decoder(name)
    text = ids_of(1, 5)
    padded = torch.cat([torch.zeros(1, 3, dtype=torch.long), text], dim=1)
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    settings |= {"output_logits": True, "return_dict_in_generate": True}
    alone = model.generate(text, **settings, attention_mask=torch.ones_like(text))
    mask = (padded != 0).long()
    found = model.generate(padded, **settings, attention_mask=mask, cache_implementation=cache)
    assert_close(torch.stack(found.logits), torch.stack(alone.logits), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_side_by_side_each_remembers_its_own_rows(beams):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]()).eval()
    other = Architecture(LoRA(rank=1, **CAUSAL))
    ids = ids_of(2, 5)
    settings = {"max_new_tokens": 6, "num_beams": beams, "do_sample": False}
    settings |= {"eos_token_id": None, "pad_token_id": 0}
    several = attach_side_by_side(model, [GATED, other])
    for member in several.members:
        strengthen(member.eval())
    with several.rows([0] * beams + [1] * beams):
        together = model.generate(ids, **settings)
    several.detach()
    for row, architecture in enumerate((GATED, other)):
        attached = attach(model, architecture).eval()
        strengthen(attached)
        assert torch.equal(model.generate(ids[row : row + 1], **settings)[0], together[row])
        attached.detach()


@pytest.mark.parametrize("name", ["mamba"])
def test_a_state_without_tokens(name):
    model, _ = decoder(name, Architecture(Adapter(site="mixer", bottleneck=3, **CAUSAL)))
    ids = ids_of(2, 5)
    settings = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    without = model.generate(ids, **settings, use_cache=False)
    assert torch.equal(model.generate(ids, **settings), without)
