"""Prompts: both entries and positions against inputs put together by hand."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertModel,
    ElectraConfig,
    ElectraModel,
    LlamaConfig,
    LlamaModel,
)

from peftnas.methods.adapter import Adapter
from peftnas.methods.attach import attach
from peftnas.methods.describe import describe
from peftnas.methods.prompt import Prompt, SoftPrompt
from peftnas.spaces.architecture import Architecture

IDS = torch.tensor([[5, 9, 3, 17, 4], [8, 2, 11, 6, 30]])
PADDING = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
LENGTH = 3
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 40,
    "initializer_range": 0.3,
}


def bert(**fields) -> BertModel:
    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZES, **fields)).eval()


def electra() -> ElectraModel:
    torch.manual_seed(0)
    return ElectraModel(ElectraConfig(embedding_size=12, **SIZES)).eval()


def llama() -> LlamaModel:
    torch.manual_seed(0)
    return LlamaModel(LlamaConfig(**SIZES)).eval()


BACKBONES = {"bert": bert, "electra": electra, "llama": llama}


def vectors(attached) -> torch.Tensor:
    (prompt,) = (module for module in attached.modules() if isinstance(module, SoftPrompt))
    return prompt.embedding.detach()


def joined(rows: torch.Tensor, new: torch.Tensor, position: str) -> torch.Tensor:
    start = 0 if position == "before" else 1
    new = new.expand(rows.shape[0], *new.shape[-(rows.dim() - 1) :])
    return torch.cat([rows[:, :start], new, rows[:, start:]], dim=1)


@pytest.mark.parametrize("mask", [None, PADDING], ids=["nopad", "pad"])
@pytest.mark.parametrize("position", ["before", "after_first"])
@pytest.mark.parametrize("name", BACKBONES)
def test_word_embeddings_entry_is_inputs_embeds_by_hand(name, position, mask):
    model = BACKBONES[name]()
    attached = attach(model, Architecture(Prompt(length=LENGTH, position=position)))
    got = model(IDS, attention_mask=mask).last_hidden_state
    assert got.shape == (2, 5 + LENGTH, 16)
    prompt = vectors(attached)
    attached.detach()
    embeds = joined(model.get_input_embeddings()(IDS), prompt, position)
    wide = None
    if mask is not None:
        wide = joined(mask, torch.ones(LENGTH, dtype=torch.long), position)
    expected = model(inputs_embeds=embeds, attention_mask=wide).last_hidden_state
    assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("position", ["before", "after_first"])
@pytest.mark.parametrize("name", ["bert", "electra"])
def test_hidden_entry_is_the_encoder_by_hand(name, position):
    model = BACKBONES[name]()
    attached = attach(
        model, Architecture(Prompt(length=LENGTH, entry="hidden", position=position))
    )
    got = model(IDS).last_hidden_state
    prompt = vectors(attached)
    attached.detach()
    hidden = joined(model.embeddings(IDS), prompt, position)
    if name == "electra":
        hidden = model.embeddings_project(hidden)
    assert_close(got, model.encoder(hidden).last_hidden_state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("entry", ["word_embeddings", "hidden"])
@pytest.mark.parametrize("name", BACKBONES)
def test_padding_does_not_change_real_tokens(name, entry):
    model = BACKBONES[name]()
    attach(model, Architecture(Prompt(length=LENGTH, entry=entry)))
    padded = model(IDS, attention_mask=PADDING).last_hidden_state
    alone = model(IDS[1:, :3]).last_hidden_state
    assert_close(padded[1:, : 3 + LENGTH], alone, atol=1e-5, rtol=1e-5)


def test_gates_of_other_methods_see_prompts_as_real_tokens():
    model = bert()
    gated = Adapter(bottleneck=3, gate="unipelt")
    attached = attach(model, Architecture(Prompt(length=LENGTH), gated))
    for parameter in attached.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    padded = model(IDS, attention_mask=PADDING).last_hidden_state
    alone = model(IDS[1:, :3]).last_hidden_state
    assert_close(padded[1:, : 3 + LENGTH], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("name", "width"), [("bert", 16), ("electra", 12), ("llama", 16)])
@pytest.mark.parametrize("entry", ["word_embeddings", "hidden"])
def test_count_is_what_is_built(name, width, entry):
    model = BACKBONES[name]()
    method = Prompt(length=7, entry=entry)
    attached = attach(model, Architecture(method))
    built = sum(p.numel() for p in attached.parameters())
    assert method.count(describe(model)) == built == 7 * width
    assert attached.prompt_length == 7


@pytest.mark.parametrize("position", ["before", "after_first"])
def test_real_takes_the_prompt_out(position):
    model = bert()
    attached = attach(model, Architecture(Prompt(length=LENGTH, position=position)))
    wide = joined(torch.arange(10.0).view(2, 5, 1), torch.full((LENGTH, 1), -1.0), position)
    assert_close(attached.real(wide), torch.arange(10.0).view(2, 5, 1))


def test_entries_are_one_where_positions_are_rotary():
    anatomy = describe(llama())
    hidden, words = Prompt(entry="hidden"), Prompt(entry="word_embeddings")
    assert hidden.normal(anatomy) == words
    assert list(hidden.place(anatomy)) == list(words.place(anatomy))
    assert hidden.normal(describe(bert())) == hidden


def test_longer_than_the_positions_is_an_error_with_the_numbers():
    model = bert(max_position_embeddings=7)
    attach(model, Architecture(Prompt(length=LENGTH)))
    assert model(IDS[:, :4]).last_hidden_state.shape == (2, 7, 16)
    with pytest.raises(ValueError, match="3 .*5 .*7"):
        model(IDS)


def test_bare_entry_takes_no_positions():
    model = bert(max_position_embeddings=5)
    attach(model, Architecture(Prompt(length=LENGTH, entry="hidden")))
    assert model(IDS).last_hidden_state.shape == (2, 8, 16)


def test_start_and_absence():
    anatomy = describe(bert())
    (placement,) = Prompt(length=500).place(anatomy)
    before = torch.get_rng_state()
    module = placement.build(torch.Generator().manual_seed(0))
    assert torch.equal(before, torch.get_rng_state())
    values = module().detach()
    assert values.shape == (500, 16)
    assert -0.5 <= values.min() < -0.49 and 0.49 < values.max() <= 0.5
    assert abs(values.mean()) < 0.02
    assert list(Prompt(length=0).place(anatomy)) == []


def test_words_name_what_is_unusual() -> None:
    assert Prompt(length=3).words() == "prompt length 3"
    assert (
        Prompt(length=3, entry="hidden", position="after_first").words()
        == "prompt length 3 (hidden, after_first)"
    )
