"""HF peft gives our outputs from what is written for it, in a process without peftnas."""

from __future__ import annotations

import json
import re
import sys

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    BitFit,
    Compacter,
    FullFineTuning,
    LoRA,
    Prefix,
    Prompt,
    ReFT,
    attach,
)
from peftnas.methods.interchange import to_peft
from peftnas.methods.interchange.paths import pattern
from peftnas.methods.interchange.peft_folder import save_as_peft
from peftnas.spaces.structure import ByLayer
from tests.methods.conftest import CONFIGS, build

pytest.importorskip("peft")

BY_LAYER = ByLayer({0: 2, 1: 3, 2: 0})
CASES = {
    "bert-lora": Architecture(LoRA(rank=BY_LAYER, alpha=5.0)),
    "bert-two_loras": Architecture(
        LoRA(rank=3, alpha=5.0, rslora=True), LoRA(rank=2, targets=("value", "down"))
    ),
    "bert-ia3": Architecture(IA3()),
    "bert-ia3_output": Architecture(IA3(down_side="output"), IA3(targets=("key",), layers=(1,))),
    "bert-prompt": Architecture(Prompt(length=3), Prompt(length=2)),
    "llama-lora": Architecture(LoRA(rank=2, targets=("query", "value", "up", "gate_proj"))),
    "llama-ia3": Architecture(IA3()),
    "llama-prompt": Architecture(Prompt(length=4)),
    "llama-prefix": Architecture(Prefix(length=3), Prefix(length=1)),
    "llama-prefix_mlp": Architecture(Prefix(length=3, mlp=5)),
    "gpt2-lora": Architecture(LoRA(rank=BY_LAYER, targets=("query", "value", "output", "down"))),
    "gpt2-ia3": Architecture(IA3()),
    "gpt_neox-lora": Architecture(LoRA(rank=2)),
    "gpt_neox-prefix": Architecture(Prefix(length=3)),
    "qwen3-prefix": Architecture(Prefix(length=3)),
    "t5-lora": Architecture(LoRA(rank=2, targets=("query", "cross_value", "down"))),
    "bart-ia3": Architecture(IA3(targets=("key", "cross_value", "down"))),
    "bart-prompt": Architecture(Prompt(length=3)),
}


@pytest.fixture(scope="module")
def answers(elsewhere):
    there = elsewhere("peft")
    for case, architecture in CASES.items():
        fresh = build(case.partition("-")[0])
        there.add(
            case,
            architecture,
            lambda attached, folder, fresh=fresh: save_as_peft(
                attached, folder, "base/name", fresh=fresh
            ),
        )
    return there.run()


@pytest.mark.parametrize("case", CASES)
def test_a_fresh_process_gives_our_outputs(case, answers):
    theirs, ours = answers[case]
    assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_the_config_says_ranks_scales_and_modules(build_backbone, tmp_path):
    attached = attach(build_backbone("bert"), CASES["bert-lora"])
    save_as_peft(attached, tmp_path / "a", "base/name", fresh=build_backbone("bert"))
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    values = r"(attention\.self\.query|attention\.self\.value)"
    assert config["target_modules"] == rf"encoder\.layer\.(0|1)\.{values}"
    assert (config["r"], config["lora_alpha"]) == (2, 5)
    assert config["rank_pattern"] == {rf"encoder\.layer\.1\.{values}": 3}
    assert config["alpha_pattern"] == {} and config["base_model_name_or_path"] == "base/name"
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_one_of_several_linears_in_a_projection_is_a_block(build_backbone):
    attached = attach(build_backbone("gpt2"), Architecture(LoRA(rank=2, targets=("value",))))
    module = attached.at("layers[0].attention.value", "lora")
    torch.nn.init.ones_(module.B)
    config, tensors = to_peft(attached)
    b = tensors["base_model.model.h.0.attn.c_attn.lora_B.weight"]
    assert b.shape == (48, 2) and config.fan_in_fan_out
    assert b[32:].eq(1).all() and not b[:32].any()


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_on_a_bfloat16_backbone(name, build_backbone, disturb, tmp_path):
    attached = attach(build_backbone(name).bfloat16(), Architecture(LoRA(rank=2, alpha=4.0)))
    disturb(attached)
    fresh = build_backbone(name).bfloat16()
    save_as_peft(attached, tmp_path / "a", "base", fresh=fresh)
    assert (tmp_path / "a/adapter_model.safetensors").is_file()


REFUSALS = [
    ("bert", Adapter(bottleneck=2), r"adapter at layers\[0\].* has no bottleneck adapters; keep"),
    ("bert", LoRA(rank=2, gate="unipelt"), r"lora at layers\[0\]\.attention\.query .* no gates"),
    ("bert", BitFit(), "biases only together with LoRA"),
    ("bert", Compacter(bottleneck=4), "has no Compacter layers"),
    ("bert", ReFT(), "has no ReFT edits"),
    ("bert", FullFineTuning(), "does not hold a whole backbone"),
    ("bert", Prefix(length=2), "with learned positions that is another function"),
    ("bert", Prompt(length=2, entry="hidden"), "not after the embedding layer"),
    ("bert", Prompt(length=2, position="after_first"), "before the first token, not after it"),
    ("llama", Prefix(length=2, layers=(0,)), "same length in every layer"),
    ("llama", Prefix(length=2, gate="unipelt"), "no gates"),
    ("mistral", Prefix(length=2), "out of sight in a sliding window"),
    ("bart", Prefix(length=2), "enters an encoder-decoder in another way"),
]


@pytest.mark.parametrize(("name", "method", "why"), REFUSALS)
def test_what_peft_cannot_express_is_refused(name, method, why, build_backbone):
    attached = attach(build_backbone(name), Architecture(method))
    with pytest.raises(ValueError, match=why) as raised:
        to_peft(attached)
    assert str(raised.value).endswith("keep peftnas's own format")


def test_rotary_positions_that_depend_on_the_length_are_refused():
    config = CONFIGS["llama"]()
    config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    attached = attach(AutoModel.from_config(config), Architecture(Prefix(length=2)))
    with pytest.raises(ValueError, match="longer, on which these positions depend"):
        to_peft(attached)


def test_several_methods_are_refused_with_what_goes(build_backbone):
    model = build_backbone("bert")
    with pytest.raises(ValueError, match="ia3 with lora cannot go into one HF peft adapter"):
        to_peft(attach(model, Architecture(LoRA(rank=2), IA3())))


def test_both_sides_of_one_linear_are_refused(build_backbone):
    both = Architecture(IA3(), IA3(targets=("down",), down_side="output"))
    with pytest.raises(ValueError, match=r"input of a linear or its output, not both"):
        to_peft(attach(build_backbone("bert"), both))


def test_nothing_attached_is_refused(build_backbone):
    with pytest.raises(ValueError, match="nothing is attached"):
        to_peft(attach(build_backbone("bert"), Architecture()))


def test_other_outputs_leave_nothing_behind(build_backbone, disturb, tmp_path):
    attached = attach(build_backbone("bert"), Architecture(LoRA(rank=2)))
    disturb(attached)
    with pytest.raises(ValueError, match=r"outputs differ by .* nothing was written"):
        save_as_peft(attached, tmp_path / "a", "base", fresh=build_backbone("bert", seed=1))
    assert list(tmp_path.iterdir()) == []


def test_without_peft_the_remedy_is_named(build_backbone, monkeypatch):
    attached = attach(build_backbone("bert"), Architecture(LoRA(rank=2)))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"pip install 'peftnas\[peft\]'"):
        to_peft(attached)


def test_a_pattern_matches_its_paths_and_no_other():
    paths = ["a.layer.0.k", "a.layer.10.k", "a.layer.2.k", "a.layer.2.v.w", "pooler.dense"]
    found = re.compile(pattern(paths))
    assert all(found.fullmatch(path) for path in paths)
    for other in ("a.layer.1.k", "a.layer.0.v.w", "a.layer.2.v", "b.a.layer.0.k", "poolerxdense"):
        assert not found.fullmatch(other)
