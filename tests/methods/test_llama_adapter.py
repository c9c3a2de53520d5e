"""LLaMA-Adapter: parity with HF peft, both gates, the identity on backbones with biases."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    Architecture,
    LlamaAdapter,
    LoRA,
    Prefix,
    attach,
    count,
    describe,
)

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated")


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_equals_hf_peft(name, build_backbone, batch, disturb):
    peft = pytest.importorskip("peft")
    ours = build_backbone(name)
    method = LlamaAdapter(length=3, gate_form="per_layer", layers=(1, 2))
    attached = attach(ours, Architecture(method))
    disturb(attached)
    config = peft.AdaptionPromptConfig(adapter_len=3, adapter_layers=2, task_type="CAUSAL_LM")
    theirs = peft.AdaptionPromptModel(build_backbone(name), {"default": config}, "default").eval()
    for placement, module in attached.placed:
        layer = theirs.model.layers[placement.layers[0]].self_attn
        layer.adaption_prompt.data.copy_(module.prompts.detach()[None])
        layer.adaption_gate.data.copy_(module.gate.detach())
    trained = sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    assert trained == count(attached.architecture, attached.anatomy)
    out, expected = (model(**batch).last_hidden_state for model in (ours, theirs))
    real = batch["attention_mask"].bool()
    assert_close(out[real], expected[real], atol=1e-5, rtol=1e-5)


def test_both_gates_are_one_where_all_heads_agree(build_backbone, batch):
    model, outputs = build_backbone("llama"), []
    for form, gate in (("per_layer", 0.3), ("per_head", torch.atanh(torch.tensor(0.3)))):
        attached = attach(model, Architecture(LlamaAdapter(length=3, gate_form=form)), seed=5)
        with torch.no_grad():
            for _, module in attached.placed:
                module.gate.fill_(gate)
        outputs.append(model(**batch).last_hidden_state)
        attached.detach()
    assert_close(*outputs)


@pytest.mark.parametrize("name", ["bert", "gpt2", "gpt_neox", "opt", "t5", "vit", "whisper"])
def test_starts_as_the_identity_beside_a_prefix_too(name, build_backbone, inputs_of, disturb):
    model = build_backbone(name).requires_grad_(False)  # gradients choose other kernels
    inputs, anatomy = inputs_of(model), describe(model)
    bare = model(**inputs).last_hidden_state
    attached = attach(model, Architecture(LlamaAdapter(length=2)))
    assert torch.equal(model(**inputs).last_hidden_state, bare)
    shape = anatomy.layers[0]
    assert attached.count == anatomy.n_layers * (2 * shape.width + shape.heads)
    attached.detach()
    both = attach(model, Architecture(LlamaAdapter(length=2), Prefix(length=3)), seed=1)
    started = model(**inputs).last_hidden_state
    both.detach()
    attach(model, Architecture(Prefix(length=3)), seed=1)
    assert_close(model(**inputs).last_hidden_state, started)


def test_closed_form_in_one_attention(build_backbone, disturb):
    """softmax(q K) V + g softmax(q K_a) V_a, then the output projection."""
    model = build_backbone("bert")
    hidden = torch.randn(2, 5, 16)
    core = model.encoder.layer[1].attention.self
    plain = core(hidden)[0]
    attached = attach(model, Architecture(LlamaAdapter(length=3, layers=(1,))))
    disturb(attached)
    branch = attached.at("layers[1].attention.core", "llama_adapter")
    heads = {"query": hidden, "key": branch.prompts, "value": branch.prompts}
    q, k, v = (getattr(core, n)(x).unflatten(-1, (4, 4)) for n, x in heads.items())
    weights = (torch.einsum("bthc,lhc->bhtl", q, k) / 2).softmax(-1)
    found = torch.einsum("bhtl,lhc->bthc", weights, v) * torch.tanh(branch.gate)[:, None]
    assert_close(core(hidden)[0], plain + found.flatten(2))


def test_frozen_projections_stay_when_others_merge(build_backbone, batch, disturb):
    model = build_backbone("bert")
    lora = LoRA(rank=2, targets=("query", "key"))
    attached = attach(model, Architecture(LlamaAdapter(length=2), lora))
    disturb(attached)
    expected = model(**batch).last_hidden_state
    report = attached.merge()
    assert "layers[0].attention.query: lora" in report.merged
    assert "layers[0].attention.key: lora" in report.remaining
    assert_close(model(**batch).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
