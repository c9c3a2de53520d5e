"""Gradient checkpointing: layers that are computed again have the state of their own pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    AdaMix,
    Adapter,
    Architecture,
    CoDA,
    DyLoRA,
    GatedLoRAPrefix,
    LoRA,
    Prefix,
    ReFT,
    attach,
    attach_side_by_side,
)
from peftnas.methods.testing.tiny import output

GATE = {"gate": "unipelt"}
METHODS = {
    "gate": LoRA(rank=2, **GATE),
    "gated adapter": Adapter(bottleneck=3, **GATE),
    "gated prefix": Prefix(length=2, **GATE),
    "central gate": GatedLoRAPrefix(rank=2, length=2),
    "reft": ReFT(rank=2),
    "coda": CoDA(bottleneck=2, token_keep_ratio=0.5),
    "adamix": AdaMix(bottleneck=3, activation="tanh"),
    "dylora": DyLoRA(rank=4),
    "adapterdrop": Adapter(bottleneck=3, drop_below=2),
}


def two_passes(model, attached, batches) -> torch.Tensor:
    total = torch.zeros(())
    for number, inputs in enumerate(batches):
        attached.steps.begin(number, len(batches), seed=number)
        total = total + model(**inputs).last_hidden_state.pow(2).sum()
    return total


def batches_of(batch):
    other = {"input_ids": batch["input_ids"][:2], "attention_mask": batch["attention_mask"][:2]}
    return (
        batch,
        {
            "input_ids": batch["input_ids"].flip(1),
            "attention_mask": 1 - 0 * batch["attention_mask"],
        },
        other,
    )


@pytest.mark.parametrize("reentrant", [False, True], ids=["plain", "reentrant"])
@pytest.mark.parametrize("name", METHODS)
def test_passes_before_one_backward(name, reentrant, build_backbone, batch, disturb):
    found = []
    for checkpointing in (False, True):
        model = build_backbone("bert").train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        attached = attach(model, Architecture(METHODS[name])).train()
        disturb(attached)
        two_passes(model, attached, batches_of(batch)).backward()
        found.append({n: p.grad for n, p in attached.named_parameters() if p.grad is not None})
        attached.detach()
        if checkpointing:
            functions = [layer._gradient_checkpointing_func for layer in model.encoder.layer]
            assert not [one for one in functions if type(one).__name__ == "Pinned"]
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        assert_close(found[1][key], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["llama", "vit"])  # norms before the sublayers
@pytest.mark.parametrize(
    "method", [Adapter(site="both", insertion="parallel"), AdaMix()], ids=["adapter", "adamix"]
)
def test_a_copy_after_a_backward(method, backbone, build_backbone, inputs_of):
    """What computes a layer again stops before its end, between the hooks of a sublayer."""
    model = build_backbone(backbone).train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    attached = attach(model, Architecture(method)).train()
    inputs = inputs_of(model)
    output(model, inputs).pow(2).sum().backward()
    other, _ = copy.deepcopy((model, attached))
    assert torch.equal(output(other.eval(), inputs), output(model.eval(), inputs))


def test_side_by_side_backward_may_come_later(build_backbone, batch, disturb):
    found = []
    for checkpointing in (False, True):
        model = build_backbone("llama").train()
        if checkpointing:
            model.activation_checkpointing_enable()
        several = attach_side_by_side(
            model, [Architecture(LoRA(rank=2, **GATE)), Architecture(Adapter(bottleneck=2))]
        )
        for member in several.members:
            disturb(member)
        with several.rows([0, 1, 0]):
            first = model(**batch, use_cache=False).last_hidden_state.pow(2).sum()
        with several.rows([1, 0, 0]):
            second = model(**batch, use_cache=False).last_hidden_state.pow(2).sum()
        (first + 2 * second).backward()
        found.append([p.grad for member in several.members for p in member.parameters()])
        several.detach()
    for plain, checkpointed in zip(*found, strict=True):
        assert_close(checkpointed, plain, atol=1e-4, rtol=1e-4)
