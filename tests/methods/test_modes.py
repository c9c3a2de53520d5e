"""Ways to run an attached backbone: checkpointing, caches, copies, autocast, compilation."""

from __future__ import annotations

import copy
import functools
import pickle

import pytest
import torch
import transformers
from torch.testing import assert_close
from transformers import LlamaForCausalLM

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    CrossAttentionTuning,
    LlamaAdapter,
    LoRA,
    Prefix,
    Prompt,
    attach,
)
from peftnas.methods.testing.tiny import CONFIGS, output
from tests.methods.test_conformance import EXAMPLES, NAMES, Example
from tests.methods.test_random_compositions import refused

pytestmark = pytest.mark.filterwarnings("ignore:.*use_reentrant")
CACHES = ("dynamic", "static")


@pytest.fixture(params=EXAMPLES, ids=NAMES)
def example(request) -> Example:
    return request.param


@pytest.fixture(params=["bert", "llama"])
def model(request, build_backbone, example):
    if (example.needs_bias or example.encoder) and request.param == "llama":
        pytest.skip("has no bias, or is no encoder; the refusal is checked in test_conformance.py")
    return build_backbone(request.param)


def forward(model, batch):
    return model(**batch).last_hidden_state


def without_dropout(model):
    """In training mode, where alone transformers checkpoints, but with nothing dropped."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "activation_dropout", "dropout_prob"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
        if hasattr(module, "layerdrop"):
            module.layerdrop = 0.0
    return model.train()


def test_checkpointing_changes_no_gradient(example, model, batch, disturb):
    attached = attach(model, Architecture(example.method))
    disturb(attached)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            without_dropout(model)
            model.activation_checkpointing_enable({"use_reentrant": False})
        attached.zero_grad()
        forward(model, batch).pow(2).sum().backward()
        gradients.append(
            [None if p.grad is None else p.grad.clone() for p in attached.parameters()]
        )
    for plain, again in zip(*gradients, strict=True):
        assert (plain is None) == (again is None)
        if plain is not None:
            assert_close(again, plain, atol=1e-4, rtol=1e-4)


def test_copied_and_pickled(example, model, batch, disturb):
    attached = attach(model, Architecture(example.method))
    disturb(attached)
    expected = forward(model, batch)
    both = copy.deepcopy((model, attached))
    for other, modules in (both, pickle.loads(pickle.dumps((model, attached)))):
        assert torch.equal(forward(other, batch), expected)
        with torch.no_grad():
            for parameter in modules.parameters():
                parameter.add_(0.1)
        assert not torch.equal(forward(other, batch), expected)
        modules.detach()
    assert torch.equal(forward(model, batch), expected)


def note_dtype(seen, name, module, args, out):
    seen[name] = out.dtype


def dtypes_under_autocast(model, inputs):
    """Of what every linear and norm of a model gives."""
    seen, handles = {}, []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) or "norm" in type(module).__name__.lower():
            note = functools.partial(note_dtype, seen, name)
            handles.append(module.register_forward_hook(note))
    with torch.autocast("cpu", torch.bfloat16):
        output(model, inputs)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", ["bert", "llama", "deberta", "gpt2"])
def test_autocast_gives_what_the_bare_layers_give(example, name, build_backbone, inputs_of):
    model = build_backbone(name)
    inputs = inputs_of(model)
    bare = dtypes_under_autocast(model, inputs)
    try:
        attach(model, Architecture(example.method))
    except ValueError as error:
        refused(error)
        pytest.skip(f"checked: refused ({error})")
    assert dtypes_under_autocast(model, inputs) == bare


def test_autocast(example, model, batch, disturb):
    attached = attach(model, Architecture(example.method))
    disturb(attached)
    expected = forward(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        out = forward(model, batch)
    out.float().pow(2).sum().backward()
    assert any(parameter.grad is not None for parameter in attached.parameters())
    if example.method.kind == "coda":
        return  # close scores select other tokens in 16 bits
    real = attached.real(out).float() - attached.real(expected)
    assert float(real.detach()[batch["attention_mask"].bool()].abs().mean()) < 0.1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_whole(example, model, batch, disturb):
    if getattr(example.method, "encoder", None) == "lstm":
        pytest.skip("torch does not compile an LSTM whole")
    attached = attach(model, Architecture(example.method))
    disturb(attached)
    expected = forward(model, batch)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    actual, real = compiled(**batch).last_hidden_state, batch["attention_mask"].bool()
    pair = (attached.real(out)[real] for out in (actual, expected))
    assert_close(*pair, atol=1e-5, rtol=1e-5)


def test_attention_weights_are_those_of_real_tokens(example, model, batch, disturb):
    model.set_attn_implementation("eager")
    attached = attach(model, Architecture(example.method))
    disturb(attached)
    found = model(**batch, output_attentions=True)
    tokens = 7 + attached.prompt_length
    assert all(weights.shape[-2:] == (tokens, tokens) for weights in found.attentions)


@pytest.mark.parametrize("cache", CACHES)
def test_generation_with_a_cache_is_that_without(cache, example, batch, disturb):
    if example.needs_bias or example.encoder or example.whole_text:
        pytest.skip("no bias, an encoder, or one gate for a whole text: not for generation")
    if example.method.kind == "reft":
        pytest.skip("without a cache nothing tells the prompt from what was generated")
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIGS["llama"]()).eval()
    attached = attach(model, Architecture(example.method))
    disturb(attached)
    prompt = {name: value[:1] for name, value in batch.items()}
    settings = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    without = model.generate(**prompt, **settings, use_cache=False)
    kind = {} if cache == "dynamic" else {"cache_implementation": cache}
    assert torch.equal(model.generate(**prompt, **settings, **kind), without)


BOTH = ("attention", "cross_attention")


@pytest.mark.parametrize(
    "methods",
    [
        (LoRA(rank=2, targets=("query", "cross_key", "down")), Adapter(site="both", bottleneck=4)),
        (Prefix(length=2, sublayers=BOTH), IA3(targets=("cross_value", "key"))),
        (Adapter(site="cross_attention", bottleneck=4), CrossAttentionTuning()),
        (Prompt(length=2), LlamaAdapter(length=2)),
    ],
    ids=["lora+adapter", "prefix+ia3", "cross-attention", "prompt+llama-adapter"],
)
@pytest.mark.parametrize(
    ("name", "family"),
    [("bart", "BartForConditionalGeneration"), ("t5", "T5ForConditionalGeneration")],
)
def test_encoder_decoders_generate(name, family, methods, batch, disturb):
    torch.manual_seed(0)
    model = getattr(transformers, family)(CONFIGS[name]()).eval()
    model.requires_grad_(False)
    settings = {"max_new_tokens": 6, "num_beams": 2, "do_sample": False, "pad_token_id": 0}
    bare = model.generate(**batch, **settings)
    attached = attach(model, Architecture(*methods))
    disturb(attached)
    out = model.generate(**batch, **settings)
    assert torch.equal(model.generate(**batch, **settings, use_cache=False), out)
    attached.detach()
    assert torch.equal(model.generate(**batch, **settings), bare)
