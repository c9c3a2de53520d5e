"""The same function and the same count as HF peft, with the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from peftnas.methods import (
    OFT,
    AdaLoRA,
    Architecture,
    DoRA,
    LNTuning,
    LoHa,
    LoKr,
    Method,
    VeRA,
    attach,
    count,
    describe,
)
from peftnas.methods.base import Bundle

# peft reads an attribute that transformers has renamed
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type"),  # of its own LNTuning
]
TARGETS = ("query", "value", "up", "down")
PATHS = {
    "bert": r".*layer\.\d+\.(attention\.self\.(query|value)|intermediate\.dense|output\.dense)",
    "llama": r".*layers\.\d+\.(self_attn\.(q_proj|v_proj)|mlp\.(up_proj|down_proj))",
}
Parts = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Row:
    """One method here and in peft; ``tensors``: peft's tensors at a linear, from our module."""

    method: Method
    config: str
    settings: dict[str, Any]
    tensors: Callable[[nn.Module], Parts]


def dora_tensors(module: Any) -> Parts:
    return {
        "lora_A.default.weight": module.A,
        "lora_B.default.weight": module.B,
        "lora_magnitude_vector.default.weight": module.magnitude,
    }


def loha_tensors(module: Any) -> Parts:
    return {
        "hada_w1_a.default": module.B1,
        "hada_w1_b.default": module.A1,
        "hada_w2_a.default": module.B2,
        "hada_w2_b.default": module.A2,
    }


def lokr_tensors(module: Any) -> Parts:
    names = ["lokr_w2"] if len(module.D) == 1 else ["lokr_w2_a", "lokr_w2_b"]
    inner = {f"{name}.default": value for name, value in zip(names, module.D, strict=True)}
    return inner | {"lokr_w1.default": module.C}


ROWS = {
    "dora": Row(
        DoRA(rank=3, alpha=5.0, targets=TARGETS),
        "LoraConfig",
        {"r": 3, "lora_alpha": 5.0, "use_dora": True},
        dora_tensors,
    ),
    "loha": Row(
        LoHa(rank=3, alpha=5.0, targets=TARGETS),
        "LoHaConfig",
        {"r": 3, "alpha": 5.0},
        loha_tensors,
    ),
    "lokr": Row(
        LoKr(rank=2, alpha=5.0, targets=TARGETS),
        "LoKrConfig",
        {"r": 2, "alpha": 5.0},
        lokr_tensors,
    ),
    "lokr factor": Row(
        LoKr(rank=1, alpha=5.0, factor=8, targets=TARGETS),
        "LoKrConfig",
        {"r": 1, "alpha": 5.0, "decompose_factor": 8},
        lokr_tensors,
    ),
    "oft": Row(
        OFT(block=4, targets=TARGETS),
        "OFTConfig",
        {"oft_block_size": 4, "use_cayley_neumann": False},
        lambda module: {"oft_R.default.weight": module.upper},
    ),
    "adalora": Row(
        AdaLoRA(rank=3, target_rank=2, alpha=5.0, targets=TARGETS),
        "AdaLoraConfig",
        {"init_r": 3, "target_r": 2, "lora_alpha": 5.0, "total_step": 10},
        lambda module: {f"lora_{n}.default": getattr(module, n) for n in ("A", "B", "E")},
    ),
    "vera": Row(
        VeRA(rank=4, targets=TARGETS),
        "VeraConfig",
        {"r": 4},
        lambda module: {"vera_lambda_d.default": module.d, "vera_lambda_b.default": module.b},
    ),
}


def trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def copy_in(theirs: nn.Module, values: Parts) -> None:
    own = dict(theirs.named_parameters())
    for name, value in values.items():
        own[name].data.copy_(value.detach().reshape(own[name].shape))


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_equals_hf_peft(name, row, build_backbone, batch, disturb):
    peft = pytest.importorskip("peft")
    ours = build_backbone(name)
    attached = attach(ours, Architecture(row.method))
    disturb(attached)
    config = getattr(peft, row.config)(target_modules=PATHS[name], **row.settings)
    theirs = peft.get_peft_model(build_backbone(name), config).eval()
    linears = describe(ours).linears
    for placement, module in attached.placed:
        pairs = [(placement.site, module)]
        if isinstance(module, Bundle):
            pairs = list(zip(module.sites, module.parts, strict=True))
        if row.config == "VeraConfig":
            theirs.base_model.vera_A["default"].data.copy_(module.A)
            theirs.base_model.vera_B["default"].data.copy_(module.B)
        for site, part in pairs:
            layer = theirs.base_model.model.get_submodule(linears[site].path)
            copy_in(layer, row.tensors(part))
    assert trained(theirs) == count(attached.architecture, attached.anatomy)
    out, expected = (model(**batch).last_hidden_state for model in (ours, theirs))
    real = batch["attention_mask"].bool()
    assert_close(out[real], expected[real], atol=1e-5, rtol=1e-5)
    (out[real] ** 3).sum().backward()
    (expected[real] ** 3).sum().backward()
    gradients = sum(float(p.grad.abs().sum()) for p in attached.parameters())
    theirs_sum = sum(float(p.grad.abs().sum()) for p in theirs.parameters() if p.requires_grad)
    assert gradients == pytest.approx(theirs_sum, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "pattern"), [("bert", ".*LayerNorm"), ("llama", ".*(layernorm|norm)")]
)
def test_ln_tuning_trains_what_hf_peft_trains(name, pattern, build_backbone):
    peft = pytest.importorskip("peft")
    config = peft.LNTuningConfig(target_modules=pattern)
    theirs = peft.get_peft_model(build_backbone(name), config)
    architecture = Architecture(LNTuning())
    assert trained(theirs) == count(architecture, describe(build_backbone(name)))


def test_start_of_dora_is_the_norm_of_the_frozen_rows(build_backbone):
    model = build_backbone("bert")
    attached = attach(model, Architecture(DoRA(rank=2)))
    site = "layers[1].attention.value"
    weight = model.encoder.layer[1].attention.self.value.weight
    assert_close(attached.at(site, "dora").magnitude, weight.norm(dim=1))
