"""Merging into weights, and back bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    Adapter,
    Architecture,
    BitFit,
    LNTuning,
    LoRA,
    Prefix,
    attach,
)
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.call import Call
from peftnas.methods.hooks import Hooks
from peftnas.methods.merge import Merger
from tests.methods.conftest import SIZES, assert_same


def test_merged_weight_in_closed_form(build_backbone, disturb):
    model = build_backbone("bert")
    attached = attach(model, Architecture(IA3(), LoRA(rank=2, alpha=6, targets=("down", "value"))))
    disturb(attached)
    down, value = (f"layers[0].{name}" for name in ("ffn.down", "attention.value"))
    layers = {s: model.get_submodule(attached.anatomy.linears[s].path) for s in (down, value)}
    scale, lora = attached.at(down, "ia3").value, attached.at(down, "lora")
    weight = (layers[down].weight + 3 * lora.B @ lora.A) * scale
    bias = layers[down].bias.clone()
    out_scale, out_lora = attached.at(value, "ia3").value, attached.at(value, "lora")
    rows = out_scale[:, None] * (layers[value].weight + 3 * out_lora.B @ out_lora.A)
    out_bias = out_scale * layers[value].bias
    attached.merge()
    assert_close(layers[down].weight, weight.detach())
    assert torch.equal(layers[down].bias, bias)
    assert_close(layers[value].weight, rows.detach())
    assert_close(layers[value].bias, out_bias.detach())


def test_what_depends_on_the_input_remains(build_backbone, batch, disturb):
    model = build_backbone("llama")
    architecture = Architecture(
        LoRA(rank=2, layers=(0,)),
        LoRA(rank=2, layers=(1,), gate="unipelt"),
        Adapter(bottleneck=2, layers=(0,)),
        Prefix(length=2, layers=(2,)),
    )
    attached = attach(model, architecture)
    disturb(attached)
    expected = model(**batch).last_hidden_state
    report = attached.merge()
    assert report.merged == (
        "layers[0].attention.query: lora",
        "layers[0].attention.value: lora",
    )
    assert len(report.remaining) == 4
    assert attached.is_merged
    assert_same(model(**batch).last_hidden_state, expected)
    attached.unmerge()
    attached.unmerge()
    assert not attached.is_merged


def test_a_bias_goes_into_a_linear_that_has_none(build_backbone, digest):
    model = build_backbone("llama")
    before, anatomy = digest(model), attach(model, Architecture())
    anatomy.detach()
    placement = BitFitPlacement("layers[0].attention.output", 16)
    module = placement.build(torch.Generator())
    torch.nn.init.normal_(module.value)
    hooks = Hooks(model, anatomy.anatomy, [(placement, module)], Call())
    linear = model.layers[0].self_attn.o_proj
    x = torch.randn(2, 3, 16)
    expected = linear(x)
    merger = Merger(hooks, [(placement, module)])
    assert linear.bias is not None and torch.equal(linear.bias, module.value)
    assert_close(linear(x), expected)
    merger.undo()
    assert linear.bias is None and torch.equal(linear(x), expected)
    hooks.remove()
    assert digest(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_undone_exactly_after_large_changes(dtype, build_backbone, digest):
    model = build_backbone("bert").to(dtype)
    before = digest(model)
    attached = attach(model, Architecture(LoRA(rank=4), BitFit(), IA3()))
    for parameter in attached.parameters():
        torch.nn.init.normal_(parameter, std=100.0)
    for _ in range(3):
        attached.merge()
        assert digest(model) != before
        attached.unmerge()
        assert digest(model) == before


def test_training_goes_on_after_unmerge(build_backbone, batch, disturb):
    model = build_backbone("bert")
    attached = attach(model, Architecture(LoRA(rank=2)))
    disturb(attached)
    attached.merge()
    attached.unmerge()
    model(**batch).last_hidden_state.sum().backward()
    assert all(parameter.grad is not None for parameter in attached.parameters())


def test_two_rotations_merge_in_their_order(build_backbone, batch, disturb):
    model = build_backbone("bert")
    attached = attach(
        model, Architecture(OFT(block=2, targets=("up",)), OFT(block=4, targets=("up",)))
    )
    disturb(attached)
    expected = model(**batch).last_hidden_state
    assert not attached.merge().remaining
    assert_same(model(**batch).last_hidden_state, expected)


@pytest.mark.parametrize("method", [LoRA(rank=2), OFT(block=4), SSF(), BitFit(), LNTuning()])
def test_layers_that_share_parameters_merge_apart(method, build_backbone, batch, digest, disturb):
    model = build_backbone("bert")
    first, second = (model.encoder.layer[number] for number in (0, 1))
    shared = {
        "attention.self.query": ("weight", "bias"),
        "attention.output.LayerNorm": ("weight", "bias"),
        "output.dense": ("weight",),
    }
    for path, names in shared.items():
        for name in names:
            parameter = first.get_submodule(path).get_parameter(name)
            setattr(second.get_submodule(path), name, parameter)
    before, bare = digest(model), model(**batch).last_hidden_state
    attached = attach(model, Architecture(method))
    disturb(attached)
    expected = model(**batch).last_hidden_state
    assert not attached.merge().remaining
    assert_same(model(**batch).last_hidden_state, expected)
    attached.unmerge()
    assert torch.equal(model(**batch).last_hidden_state, expected)
    attached.merge()
    attached.detach()
    assert digest(model) == before
    assert torch.equal(model(**batch).last_hidden_state, bare)
    for path, names in shared.items():
        for name in names:
            pair = (layer.get_submodule(path).get_parameter(name) for layer in (first, second))
            assert next(pair) is next(pair)


def test_what_is_tied_outside_of_the_layers_stays(digest, disturb):
    """A head tied to the word embeddings, and one that a user tied to a layer's linear."""
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=True)).eval()
    head = torch.nn.Linear(16, 24, bias=False)
    head.weight = model.model.layers[0].mlp.up_proj.weight
    tied = model.lm_head.weight.clone(), head.weight.clone()
    words = torch.arange(10).view(2, 5)
    attached = attach(model, Architecture(LoRA(rank=2, targets=("query", "up")), LNTuning()))
    disturb(attached)
    expected = model(input_ids=words).logits
    attached.merge()
    assert_same(model(input_ids=words).logits, expected)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert torch.equal(model.lm_head.weight, tied[0]) and torch.equal(head.weight, tied[1])
    attached.detach()
    assert head.weight is model.model.layers[0].mlp.up_proj.weight


def test_undone_after_the_merged_model_was_cast(build_backbone, batch):
    model = build_backbone("bert")
    attached = attach(model, Architecture(LoRA(rank=2)))
    attached.merge()
    model.double()
    attached.unmerge()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}
    attached.detach()
    assert model(**batch).last_hidden_state.isfinite().all()
