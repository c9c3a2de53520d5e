"""Plain transformers gives our outputs from what is merged, in a process without peft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from transformers import AutoModel

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    AdaLoRA,
    Adapter,
    Architecture,
    BitFit,
    DoRA,
    DyLoRA,
    FullFineTuning,
    LNTuning,
    LoHa,
    LoKr,
    LoRA,
    Prompt,
    SoRA,
    VeRA,
)
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import attach
from peftnas.methods.base import BiasDelta, LinearDelta, Method, Placement
from peftnas.methods.interchange.merged import save_merged
from peftnas.spaces.structure import ByLayer


@dataclass(frozen=True)
class ShiftPlacement(Placement):
    kind: ClassVar[str] = "shift"
    width: int

    def count(self) -> int:
        return self.width

    def build(self, generator: torch.Generator) -> nn.Module:
        module = BiasDelta()
        module.value = nn.Parameter(torch.zeros(self.width))
        return module


@dataclass(frozen=True, kw_only=True)
class Shift(Method):
    """A bias at linears, where the backbone may have none."""

    kind: ClassVar[str] = "shift"
    formula: ClassVar[str] = "n_out"
    source: ClassVar[str] = "these tests"
    targets: tuple[str, ...] = ("query",)

    def place(self, anatomy: Anatomy) -> Iterator[ShiftPlacement]:
        for target in self.targets:
            site = anatomy.linear(1, target)
            yield ShiftPlacement(site.address, site.n_out)


class Liar(LinearDelta):
    """Adds another thing than it says."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        return nn.functional.linear(x, self.w)

    def weight_delta(self) -> Tensor:
        return 1.1 * self.w


@dataclass(frozen=True)
class LiarPlacement(ShiftPlacement):
    kind: ClassVar[str] = "liar"

    def build(self, generator: torch.Generator) -> nn.Module:
        return Liar((self.width, self.width))


@dataclass(frozen=True, kw_only=True)
class LiarMethod(Method):
    kind: ClassVar[str] = "liar"
    formula: ClassVar[str] = "d * d"
    source: ClassVar[str] = "these tests"

    def place(self, anatomy: Anatomy) -> Iterator[LiarPlacement]:
        yield LiarPlacement("layers[0].attention.query", anatomy.width)


CASES = {
    "bert-lora": Architecture(LoRA(rank=ByLayer({0: 2, 1: 3, 2: 0}), alpha=5.0)),
    "bert-three": Architecture(LoRA(rank=2), IA3(), BitFit()),
    "bert-full": Architecture(FullFineTuning()),
    "llama-lora": Architecture(LoRA(rank=2, targets=("query", "value", "gate_proj"))),
    "llama-ia3": Architecture(IA3()),
    "llama-attention_bias": Architecture(LoRA(rank=2), Shift()),
    "llama-both_biases": Architecture(Shift(targets=("value", "down"))),
    "gpt2-lora": Architecture(LoRA(rank=2, targets=("query", "value", "down"))),
    "gpt_neox-bitfit": Architecture(BitFit()),
    "t5-full": Architecture(FullFineTuning()),
    "bart-lora": Architecture(LoRA(rank=2), BitFit()),
    "bert-many": Architecture(
        *(DoRA(rank=2), LoHa(rank=2, targets=("up",)), LoKr(rank=2, targets=("up",)), SSF()),
    ),
    "llama-many": Architecture(
        *(OFT(block=4), AdaLoRA(rank=3, target_rank=2), SoRA(rank=2), LNTuning()),
    ),
    "gpt2-many": Architecture(VeRA(rank=4), DyLoRA(rank=3, used=2), OFT(block=4)),
}


@pytest.fixture(scope="module")
def answers(elsewhere):
    there = elsewhere("transformers")
    for case, architecture in CASES.items():
        there.add(case, architecture, save_merged)
    return there.run(), there.place


@pytest.mark.parametrize("case", CASES)
def test_a_fresh_process_gives_our_outputs(case, answers):
    theirs, ours = answers[0][case]
    assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_a_new_bias_switches_the_config_and_leaves_the_others_at_zero(answers):
    model = AutoModel.from_pretrained(answers[1] / "llama-attention_bias")
    assert model.config.attention_bias and not model.config.mlp_bias
    biases = {name for name, value in model.named_parameters() if name.endswith("bias")}
    moved = {name for name in biases if model.get_parameter(name).any()}
    assert len(biases) == 3 * 4 and moved == {"layers.1.self_attn.q_proj.bias"}


def test_the_backbone_is_left_as_it_was(build_backbone, disturb, digest, tmp_path):
    model = build_backbone("llama")
    before, config = digest(model), model.config.to_dict()
    attached = attach(model, Architecture(LoRA(rank=2), Shift()))
    disturb(attached)
    save_merged(attached, tmp_path / "a")
    assert not attached.is_merged and digest(model) == before
    assert model.config.to_dict() == config
    attached.merge()
    save_merged(attached, tmp_path / "b")
    assert attached.is_merged
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_on_a_bfloat16_backbone(build_backbone, disturb, tmp_path):
    attached = attach(build_backbone("bert").bfloat16(), Architecture(LoRA(rank=2), BitFit()))
    disturb(attached)
    save_merged(attached, tmp_path / "a")
    assert AutoModel.from_pretrained(tmp_path / "a").dtype == torch.bfloat16


def tied(model: Any) -> Any:
    layers = model.encoder.layer
    layers[1].attention.self.query.weight = layers[0].attention.self.query.weight
    return model


REFUSALS = [
    ("bert", (LoRA(rank=2), Adapter(bottleneck=2)), r"layers\[0\]\.\w+: adapter .*and 2 more"),
    ("bert", (LoRA(rank=2, gate="unipelt"),), r"layers\[0\]\.attention\.query: lora adds depends"),
    ("llama", (Prompt(length=2),), "embeddings: prompt adds depends on the input; keep"),
    ("t5", (Shift(),), "makes a bias at .*, which no config of a t5 backbone"),
    ("qwen2", (Shift(targets=("output",)),), "which no config of a qwen2 backbone"),
    ("bert", (LiarMethod(),), r"merged the outputs differ by .*, so nothing was written"),
]


@pytest.mark.parametrize(("name", "methods", "why"), REFUSALS)
def test_what_cannot_be_merged_is_refused(
    name, methods, why, build_backbone, disturb, digest, tmp_path
):
    model = build_backbone(name)
    before = digest(model)
    attached = attach(model, Architecture(*methods))
    disturb(attached)
    with pytest.raises(ValueError, match=why):
        save_merged(attached, tmp_path / "a")
    assert not (tmp_path / "a").exists() and digest(model) == before


def test_a_tied_weight_is_refused(build_backbone, tmp_path):
    attached = attach(tied(build_backbone("bert")), Architecture(LoRA(rank=2, layers=(0,))))
    with pytest.raises(ValueError, match=r"query cannot be merged: the weight there is tied"):
        save_merged(attached, tmp_path / "a")
