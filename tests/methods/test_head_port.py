"""A task head behind a backbone with a prompt reads one hidden state a token, as without it."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from torch.testing import assert_close
from transformers.models.auto import modeling_auto

from peftnas.methods import VPT, Architecture, Prompt, PTuning, attach
from tests.methods.conftest import CONFIGS

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]])
MASK = (IDS != 0).long()
TOKEN_HEADS = [
    ("llama", "LlamaForCausalLM"),
    ("gpt2", "GPT2LMHeadModel"),
    ("opt", "OPTForCausalLM"),
    ("opt_post_norm", "OPTForCausalLM"),
    ("bert", "BertForMaskedLM"),
    ("roberta", "RobertaForTokenClassification"),
]


def heads(*tasks):
    """Every model of transformers for one of the tasks, with the name of a tiny backbone."""
    mappings = [getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING") for task in tasks]
    return [
        (name, mapping[type(config())].__name__)
        for mapping in mappings
        for name, config in CONFIGS.items()
        if type(config()) in mapping
    ]


def with_head(name, kind):
    torch.manual_seed(0)
    config = CONFIGS[name]()
    config.pad_token_id = 0
    return getattr(transformers, kind)(config).eval()


@pytest.mark.parametrize("method", [Prompt(length=3), PTuning(length=2, hidden=4)], ids=str)
@pytest.mark.parametrize(("name", "kind"), TOKEN_HEADS)
def test_labels_of_tokens(name, kind, method):
    model = with_head(name, kind)
    attached = attach(model, Architecture(method))
    labels = IDS.clamp(max=1)
    out = model(input_ids=IDS, attention_mask=MASK, labels=labels)
    assert out.logits.shape[:2] == IDS.shape
    hidden = attached.real(model.base_model(IDS, attention_mask=MASK).last_hidden_state)
    head = model.get_output_embeddings() or model.classifier
    if kind != "BertForMaskedLM":
        assert_close(out.logits, head(hidden))
    out.loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in attached.parameters())
    model.zero_grad()
    one, *_ = model(input_ids=IDS, attention_mask=MASK, return_dict=False)
    assert_close(one, out.logits)


@pytest.mark.parametrize(("name", "kind"), heads("CAUSAL_LM", "MASKED_LM", "TOKEN_CLASSIFICATION"))
def test_one_output_a_token_and_a_loss_from_labels(name, kind):
    model = with_head(name, kind)
    attached = attach(model, Architecture(Prompt(length=3)))
    out = model(input_ids=IDS, attention_mask=MASK, labels=IDS.clamp(max=1))
    assert out.logits.shape[:2] == IDS.shape
    out.loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in attached.parameters())


@pytest.mark.parametrize(("name", "kind"), heads("QUESTION_ANSWERING"))
def test_a_span_lies_in_the_text(name, kind):
    model = with_head(name, kind)
    attach(model, Architecture(Prompt(length=3)))
    out = model(input_ids=IDS, attention_mask=MASK)
    assert out.start_logits.shape == out.end_logits.shape == IDS.shape


@pytest.mark.parametrize("name", ["llama", "opt", "gpt2"])
def test_the_last_token_is_found_where_it_is(name):
    kind = {"llama": "Llama", "opt": "OPT", "gpt2": "GPT2"}[name] + "ForSequenceClassification"
    model = with_head(name, kind)
    attached = attach(model, Architecture(Prompt(length=3)))
    found = model(input_ids=IDS, attention_mask=MASK).logits
    hidden = attached.real(model.base_model(IDS, attention_mask=MASK).last_hidden_state)
    assert_close(found, model.score(hidden)[torch.arange(2), torch.tensor([4, 2])])


def test_an_image_classifier_reads_its_first_token():
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(CONFIGS["vit"]()).eval()
    attached = attach(model, Architecture(VPT(length=2)))
    size = model.config.image_size
    pixels = torch.randn(2, 3, size, size)
    hidden = attached.real(model.base_model(pixels).last_hidden_state)
    assert_close(model(pixels).logits, model.classifier(hidden[:, 0]))


def test_an_image_classifier_that_is_its_own_base_model_takes_the_mean_of_patches():
    torch.manual_seed(0)
    model = transformers.CLIPForImageClassification(CONFIGS["clip"]()).eval()
    attached = attach(model, Architecture(VPT(length=2)))
    pixels = torch.randn(2, 3, 12, 12)
    hidden = attached.real(model.vision_model(pixels).last_hidden_state)
    assert_close(model(pixels).logits, model.classifier(hidden[:, 1:].mean(dim=1)))


@torch.no_grad()
def test_a_generation_and_a_copy_and_the_time_after():
    model = with_head("llama", "LlamaForCausalLM")
    plain = model(IDS).logits
    attached = attach(model, Architecture(Prompt(length=3)))
    torch.nn.init.normal_(next(iter(attached.parameters())))
    settings = {"max_new_tokens": 4, "pad_token_id": 0, "eos_token_id": None, "do_sample": False}
    ids = IDS[:1]
    without = model.generate(ids, **settings, use_cache=False)
    assert torch.equal(model.generate(ids, **settings), without)
    copied, _ = copy.deepcopy((model, attached))
    assert_close(copied(ids).logits, model(ids).logits)
    assert model.base_model(ids).last_hidden_state.shape[1] == 8  # called by itself
    with pytest.raises(TypeError):
        model(ids, nonsense=1, labels="none")
    assert model.base_model(ids).last_hidden_state.shape[1] == 8
    attached.detach()
    assert torch.equal(model(IDS).logits, plain)
