"""Merging into weights, and back bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import IA3, OFT, Adapter, Architecture, BitFit, LoRA, Prefix, attach
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.call import Call
from peftnas.methods.hooks import Hooks
from peftnas.methods.merge import Merger


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
    assert_close(model(**batch).last_hidden_state, expected, atol=1e-4, rtol=1e-4)
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
    assert_close(model(**batch).last_hidden_state, expected, atol=1e-4, rtol=1e-4)
