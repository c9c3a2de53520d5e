"""(IA)3: parity with HF peft, sides, merge."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import IA3, Architecture, attach, count, describe

# peft reads an attribute that transformers has renamed
PEFT_WARNING = "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
PEFT = {
    "bert": (
        r".*\.(key|value)|.*layer\.\d+\.output\.dense",
        r".*layer\.\d+\.output\.dense",
    ),
    "llama": (r".*\.(k_proj|v_proj|down_proj)", r".*\.down_proj"),
}


@pytest.mark.filterwarnings(PEFT_WARNING)
@pytest.mark.parametrize("name", list(PEFT))
def test_equals_hf_peft(name, build_backbone, batch, disturb):
    peft = pytest.importorskip("peft")
    ours = build_backbone(name)
    attached = attach(ours, Architecture(IA3()))
    disturb(attached)
    targets, feedforward = PEFT[name]
    config = peft.IA3Config(target_modules=targets, feedforward_modules=feedforward)
    theirs = peft.get_peft_model(build_backbone(name), config).eval()
    pairs = []
    with torch.no_grad():
        for placement, module in attached.placed:
            path = attached.anatomy.linears[placement.site].path
            other = theirs.base_model.model.get_submodule(path).ia3_l["default"]
            other.copy_(module.value.view_as(other))
            pairs.append((module.value, other))
    assert attached.count == sum(p.numel() for p in theirs.parameters() if p.requires_grad)
    outputs = [model(**batch).last_hidden_state for model in (ours, theirs)]
    assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    for out in outputs:
        out.pow(2).sum().backward()
    for mine, other in pairs:
        assert_close(mine.grad, other.grad.view_as(mine), atol=1e-4, rtol=1e-4)


def test_count(build_backbone):
    bert, llama = (describe(build_backbone(name).config) for name in ("bert", "llama"))
    assert count(Architecture(IA3()), bert) == 3 * (16 + 16 + 24)
    assert count(Architecture(IA3()), llama) == 3 * (8 + 8 + 24)
    assert count(Architecture(IA3(down_side="output")), llama) == 3 * (8 + 8 + 16)
    assert count(Architecture(IA3(targets=("key", "value", "up"))), bert) == 3 * (16 + 16 + 24)


def test_scaled_input_is_read_by_every_delta_there(build_backbone, disturb):
    from peftnas.methods import LoRA

    model = build_backbone("bert")
    architecture = Architecture(IA3(), LoRA(rank=2, targets=("down",)))
    attached = attach(model, architecture)
    disturb(attached)
    site = "layers[1].ffn.down"
    scale, lora = attached.at(site, "ia3"), attached.at(site, "lora")
    linear = model.get_submodule(attached.anatomy.linears[site].path)
    x = torch.randn(2, 3, 24)
    scaled = x * scale.value
    expected = scaled @ linear.weight.T + linear.bias + scaled @ lora.A.T @ lora.B.T
    assert_close(linear(x), expected)


def test_side_of_down_is_inert_without_down(build_backbone):
    anatomy = describe(build_backbone("bert").config)
    plain = Architecture(IA3(targets=("key",)))
    assert anatomy.canonical(Architecture(IA3(targets=("key",), down_side="output"))) == plain
