"""Every example of every method on every family that takes it: the whole life of it."""

from __future__ import annotations

import functools
import pickle

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedModel

from peftnas.methods import Architecture, CrossAttentionTuning, attach, count, describe
from peftnas.methods.testing.tiny import CONFIGS, Inputs, build, inputs_of, output, words
from tests.methods.conftest import assert_same, precise
from tests.methods.test_conformance import EXAMPLES, NAMES, Example
from tests.methods.test_modes import without_dropout
from tests.methods.test_random_compositions import refused, whole_life

PAIRS = zip([*EXAMPLES, Example(CrossAttentionTuning())], [*NAMES, "cross"], strict=True)
METHODS = {name: example for example, name in PAIRS if example.method.kind != "full"}
TWO_STACKS = ("t5", "t5_gated", "bart")
DECODERS = (
    *("gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2"),
    *("opt", "opt_post_norm", "mamba", *TWO_STACKS),
)

pytestmark = pytest.mark.slow


@functools.cache
def pickled(name: str) -> bytes:
    return pickle.dumps(build(name).requires_grad_(False))


def fresh(name: str) -> PreTrainedModel:
    """What ``build`` makes, sooner."""
    return precise(pickle.loads(pickled(name)))


@functools.cache
def refusal(name: str, method: str) -> str | None:
    """Why a family does not take a method."""
    try:
        count(Architecture(METHODS[method].method), describe(CONFIGS[name]()))
    except ValueError as error:
        refused(error)
        return str(error)
    return None


@pytest.fixture
def example(name, method) -> Example:
    reason = refusal(name, method)
    if reason is not None:
        pytest.skip(f"checked: refused ({reason})")
    return METHODS[method]


@pytest.fixture
def architecture(example) -> Architecture:
    return Architecture(example.method)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("method", METHODS)
class TestFullProduct:
    def test_whole_life(self, name, example, architecture):
        model = fresh(name)
        bare = output(model, inputs_of(model))
        attached = attach(model, architecture)
        started = output(model, inputs_of(model))
        if (name, example.method.kind) == ("mamba", "oft"):
            assert_same(started, bare)  # another layout in memory chooses another kernel
        else:
            same = started.shape == bare.shape and torch.equal(started, bare)
            assert same is example.identity
        attached.detach()
        whole_life(model, architecture)

    def test_batches(self, name, architecture, disturb):
        """Neither the order of a batch nor its padding matters, as in the bare backbone.

        In float64, since batches of other shapes round in another way.
        """
        model = fresh(name).double()
        inputs = inputs_in_64_bits(model)
        bare = off_by_padding(model, inputs, None)
        attached = attach(model, architecture)
        disturb(attached)
        expected = output(model, inputs)
        turned = {key: value.flip(0) for key, value in inputs.items()}
        assert_same(output(model, turned).flip(0), expected)
        assert off_by_padding(model, inputs, attached) <= max(1e-5, 2 * bare)

    def test_checkpointing(self, name, architecture, disturb):
        """The gradients are those without it; in float64, as sums are made in another order."""
        model = without_dropout(fresh(name).double())
        if not model.supports_gradient_checkpointing:
            pytest.skip("this family does not support it")
        attached = attach(model, architecture)
        disturb(attached)
        inputs = inputs_in_64_bits(model)
        output(model, inputs).pow(2).sum().backward()
        plain = [p.grad for p in attached.parameters()]
        attached.zero_grad()
        model.activation_checkpointing_enable({"use_reentrant": False})
        output(model, inputs).pow(2).sum().backward()
        for parameter, expected in zip(attached.parameters(), plain, strict=True):
            assert (parameter.grad is None) == (expected is None)
            if expected is not None and not torch.equal(parameter.grad, expected):
                assert_same(parameter.grad, expected)

    def test_16_bits(self, name, architecture):
        model = fresh(name).to(torch.bfloat16)
        inputs = {
            key: value.bfloat16() if value.is_floating_point() else value
            for key, value in inputs_of(model).items()
        }
        attached = attach(model, architecture)
        output(model, inputs).float().pow(2).sum().backward()
        assert any(parameter.grad is not None for parameter in attached.parameters())


def inputs_in_64_bits(model) -> Inputs:
    return {
        key: value.double() if value.is_floating_point() else value
        for key, value in inputs_of(model).items()
    }


@torch.no_grad()
def off_by_padding(model, inputs, attached) -> float:
    """How far the rows of a padded batch are from each alone, as a part of the largest value."""
    if "attention_mask" not in inputs:
        return 0.0

    def real(out):
        return out if attached is None or out.dim() == 2 else attached.real(out)

    together, off = real(output(model, inputs)), 0.0
    for row, mask in enumerate(inputs["attention_mask"].bool()):
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        for key in ("input_ids", "attention_mask"):
            one[key] = one[key][:, mask]
        alone = real(output(model, one))[0]
        whole = together[row] if together.shape[1:] == alone.shape else together[row, mask]
        off = max(off, float((whole - alone).abs().max()))
    return off / float(together.abs().max())


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("method", METHODS)
def test_generation_with_a_cache_is_that_without(name, example, architecture, disturb):
    if example.whole_text or example.method.kind == "reft":
        pytest.skip("reads a whole text, or edits a prompt that nothing marks without a cache")
    torch.manual_seed(0)
    auto = AutoModelForSeq2SeqLM if name in TWO_STACKS else AutoModelForCausalLM
    model = auto.from_config(CONFIGS[name]()).eval()
    disturb(attach(model, architecture))
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    settings |= {"return_dict_in_generate": True, "output_logits": True}
    first = {key: value[:1] for key, value in words().items()}
    found = [model.generate(**first, **settings, use_cache=cached) for cached in (True, False)]
    assert torch.equal(found[0].sequences, found[1].sequences)
    for cached, whole in zip(found[0].logits, found[1].logits, strict=True):
        assert_same(cached, whole, within=1e-4)
