"""Plain transformers gives our outputs from what is merged, in a process without peft."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
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
    CoDA,
    DoRA,
    DyLoRA,
    FullFineTuning,
    LinearAdapter,
    LlamaAdapter,
    LNTuning,
    LoHa,
    LoKr,
    LoRA,
    Prefix,
    Prompt,
    ReFT,
    SoRA,
    VeRA,
)
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.attach import attach
from peftnas.methods.base import BiasDelta, LinearDelta, Method, Placement, SublayerDelta
from peftnas.methods.interchange.merged import save_merged
from peftnas.spaces.structure import ByLayer
from tests.methods.interchange.conftest import built


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
    "t5_generation-lora": Architecture(LoRA(rank=2)),
    "t5_encoder-ia3": Architecture(IA3()),
    "bert_masked-lora": Architecture(LoRA(rank=2), BitFit()),
    "roberta_classes-lora": Architecture(LoRA(rank=2)),
    "albert_masked-dora": Architecture(DoRA(rank=2)),
    "vit_classes-oft": Architecture(OFT(block=4)),
    "gpt2_causal-ia3": Architecture(IA3()),
    "clip-lora": Architecture(LoRA(rank=2), LNTuning(), SSF(targets=("up",))),
    "whisper-lora": Architecture(LoRA(rank=2), BitFit()),
    "vit-ssf": Architecture(SSF()),
    "deberta-lora": Architecture(LoRA(rank=2), LNTuning()),
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


def test_how_a_model_generates_is_kept(disturb, tmp_path):
    base = built("t5_generation")
    base.generation_config.max_new_tokens = 77
    attached = attach(base, Architecture(LoRA(rank=2)))
    disturb(attached)
    save_merged(attached, tmp_path / "a")
    again = type(base).from_pretrained(tmp_path / "a")
    assert again.generation_config.max_new_tokens == 77


def test_a_backbone_without_a_pooler_stays_so(disturb, tmp_path):
    attached = attach(built("bert_masked"), Architecture(LoRA(rank=2)))
    disturb(attached)
    save_merged(attached, tmp_path / "a")
    assert not [name for name in load_file(tmp_path / "a/model.safetensors") if "pooler" in name]


def test_on_a_bfloat16_backbone(build_backbone, disturb, tmp_path):
    attached = attach(build_backbone("bert").bfloat16(), Architecture(LoRA(rank=2), BitFit()))
    disturb(attached)
    save_merged(attached, tmp_path / "a")
    assert AutoModel.from_pretrained(tmp_path / "a").dtype == torch.bfloat16


def tied(model: Any) -> Any:
    layers = model.encoder.layer
    layers[1].attention.self.query.weight = layers[0].attention.self.query.weight
    return model


@dataclass(frozen=True)
class LoudnessPlacement(ShiftPlacement):
    kind: ClassVar[str] = "loudness"

    def build(self, generator: torch.Generator) -> nn.Module:
        return LoudnessDelta()


class LoudnessDelta(SublayerDelta):
    reads = "output"

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.zeros(1))

    def forward(self, z: Tensor, tokens: Tensor | None) -> Tensor:
        return self.g * z


@dataclass(frozen=True, kw_only=True)
class Loudness(Method):
    """The factor of CONTRIBUTING.md."""

    kind: ClassVar[str] = "loudness"
    formula: ClassVar[str] = "1"
    source: ClassVar[str] = "these tests"

    def place(self, anatomy: Anatomy) -> Iterator[LoudnessPlacement]:
        yield LoudnessPlacement("layers[1].ffn", 1)


STREAM = "works on the stream after a sublayer, where a plain model has no weights"
REFUSALS = [
    (
        "bert",
        (LoRA(rank=2), Adapter(bottleneck=2)),
        rf"^adapter at .*{STREAM} \(2 more",
    ),
    ("bert", (Loudness(),), rf"^loudness at layers\[1\]\.ffn cannot be merged: it {STREAM}; keep"),
    (
        "bert",
        (LoRA(rank=2, gate="unipelt"), IA3()),
        "^lora at .* adds depends on the input",
    ),
    (
        "llama",
        (Prompt(length=2),),
        "^prompt at .* no place for vectors among the tokens",
    ),
    ("llama", (Prefix(length=2),), "^prefix at .* no place for keys and values beside those"),
    ("llama", (LlamaAdapter(), LoRA(rank=2)), "^llama_adapter at .* no second attention beside"),
    ("bert", (CoDA(),), r"^coda at layers\[0\].* has a factor for each token of a text"),
    ("bert", (ReFT(),), "^reft at .* edits what a whole layer gives"),
    ("bert", (LinearAdapter(insertion="before"),), "^linear_adapter at .* in front of a linear"),
    (
        "llama",
        (SSF(),),
        r"^ssf at .*norm cannot .* a bias, which the norm there does not",
    ),
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


def test_the_head_goes_with_its_backbone(disturb, batch, digest, tmp_path):
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_config(built("bert").config).eval()
    attached = attach(model, Architecture(LoRA(rank=2)))
    disturb(attached)
    attached.eval()
    before, ours = digest(model), model(**batch).logits
    save_merged(attached, tmp_path / "a")
    assert digest(model) == before
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "a").eval()
    assert_close(again(**batch).logits, ours, atol=1e-5, rtol=1e-5)
    backbone = AutoModel.from_pretrained(tmp_path / "a").eval()
    hidden = model.base_model(**batch).last_hidden_state
    assert_close(backbone(**batch).last_hidden_state, hidden, atol=1e-5, rtol=1e-5)


def test_the_folder_is_new_or_empty(build_backbone, tmp_path):
    attached = attach(build_backbone("bert"), Architecture(LoRA(rank=2)))
    (tmp_path / "a").mkdir()
    save_merged(attached, tmp_path / "a")
    with pytest.raises(ValueError, match="a new or empty folder, got .*a, which holds files"):
        save_merged(attached, tmp_path / "a")
    assert (tmp_path / "a" / "config.json").exists()
    with pytest.raises(TypeError, match="save_merged takes what attach returned, got"):
        save_merged(attached.base, tmp_path / "b")
