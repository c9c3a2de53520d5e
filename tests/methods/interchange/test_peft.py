"""HF peft gives our outputs from what is written for it, in a process without peftnas."""

from __future__ import annotations

import copy
import json
import re
import sys

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    VPT,
    AdaLoRA,
    AdaMix,
    Adapter,
    Architecture,
    BitFit,
    CoDA,
    Compacter,
    CrossAttentionTuning,
    DoRA,
    DyLoRA,
    FullFineTuning,
    LlamaAdapter,
    LNTuning,
    LoHa,
    LoKr,
    LoRA,
    Prefix,
    Prompt,
    PTuning,
    ReFT,
    SoRA,
    SparseAdapter,
    VeRA,
    attach,
)
from peftnas.methods.interchange import to_peft
from peftnas.methods.interchange.paths import pattern
from peftnas.methods.interchange.peft_folder import save_as_peft
from peftnas.spaces.structure import ByLayer
from tests.methods.conftest import CONFIGS
from tests.methods.interchange.conftest import built

pytest.importorskip("peft")

BY_LAYER = ByLayer({0: 2, 1: 3, 2: 0})
TARGETS = ("query", "value", "up", "down")
DOWN = ("down",)
ADALORA = AdaLoRA(rank=3, target_rank=2, alpha=5.0, targets=TARGETS)
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
    "llama-prefix_mlp": Architecture(Prefix(length=3, mlp=5), Prefix(length=1)),
    "gpt2-lora": Architecture(LoRA(rank=BY_LAYER, targets=("query", "value", "output", "down"))),
    "gpt2-ia3": Architecture(IA3()),
    "gpt_neox-lora": Architecture(LoRA(rank=2)),
    "gpt_neox-prefix": Architecture(Prefix(length=3)),
    "qwen3-prefix": Architecture(Prefix(length=3)),
    "t5-lora": Architecture(LoRA(rank=2, targets=("query", "cross_value", "down"))),
    "bert-ssf": Architecture(SSF(), SSF(targets=("attention_norm",))),
    "gpt_neox-ssf": Architecture(SSF()),
    "gpt2-ssf_norms": Architecture(SSF(targets=("ffn_norm",))),
    "bart-dense": Architecture(CrossAttentionTuning(), BitFit()),
    "t5-dense": Architecture(CrossAttentionTuning(layers=(3,))),
    "bart-ia3": Architecture(IA3(targets=("key", "cross_value", "down"))),
    "bart-prompt": Architecture(Prompt(length=3)),
    "bert-dora": Architecture(DoRA(rank=BY_LAYER, alpha=5.0, targets=TARGETS)),
    "llama-dora": Architecture(DoRA(rank=2, alpha=5.0, targets=TARGETS)),
    "gpt2-dora": Architecture(DoRA(rank=3, targets=TARGETS), DoRA(rank=2, targets=("key",))),
    "bert-adalora": Architecture(ADALORA),
    "gpt2-adalora": Architecture(ADALORA),
    "llama-dylora": Architecture(DyLoRA(rank=4, used=3, alpha=5.0)),
    "gpt2-sora": Architecture(SoRA(rank=BY_LAYER, alpha=5.0, targets=TARGETS)),
    "bert-low_rank": Architecture(LoRA(rank=2, alpha=5.0), SoRA(rank=3), DyLoRA(rank=2, used=1)),
    "llama-low_rank": Architecture(LoRA(rank=2, targets=("up",)), ADALORA),
    "bert-biases": Architecture(LoRA(rank=2, targets=("query", "down")), BitFit()),
    "gpt2-biases": Architecture(SoRA(rank=2), BitFit(targets=("key", "up", "ffn_norm"))),
    "bert-vera": Architecture(VeRA(rank=4), VeRA(rank=4, targets=("output",))),
    "llama-vera": Architecture(VeRA(rank=4, targets=TARGETS)),
    "gpt2-vera": Architecture(VeRA(rank=4, targets=("output", "down"))),
    "llama-loha": Architecture(LoHa(rank=BY_LAYER, alpha=5.0, targets=TARGETS)),
    "gpt_neox-loha": Architecture(LoHa(rank=2, alpha=3.0), LoHa(rank=1, targets=("key", "up"))),
    "bert-lokr": Architecture(LoKr(rank=BY_LAYER, alpha=5.0, targets=TARGETS)),
    "llama-lokr_factor": Architecture(LoKr(rank=1, alpha=5.0, factor=8, targets=TARGETS)),
    "bert-oft": Architecture(OFT(block=4, targets=TARGETS)),
    "llama-oft_counts": Architecture(OFT(block=6, targets=TARGETS)),
    "bert-ln": Architecture(LNTuning(layers=(0, 2), parts=("weight",)), LNTuning()),
    "llama-ln": Architecture(LNTuning()),
    "gpt2-ln": Architecture(LNTuning(parts=("bias",), targets=("ffn_norm", "final_norm"))),
    "gemma-ln": Architecture(LNTuning()),
    "bert-lora_ln": Architecture(LoRA(rank=2), LNTuning(parts=("weight",))),
    "llama-lora_ln": Architecture(LoRA(rank=2), LNTuning(targets=("ffn_norm", "final_norm"))),
    "qwen3-lora_ln": Architecture(LoRA(rank=2), LNTuning()),
    "gpt2-lora_ln_biases": Architecture(LoRA(rank=2), LNTuning(), BitFit()),
    "gpt2-low_rank_ln": Architecture(SoRA(rank=2), DyLoRA(rank=3, used=2), LNTuning()),
    "bert-adalora_ln": Architecture(ADALORA, LNTuning()),
    "bert-dora_biases": Architecture(DoRA(rank=2), BitFit()),
    "bert-dora_ln_biases": Architecture(DoRA(rank=2), LNTuning(), BitFit()),
    "llama-ia3_ln": Architecture(IA3(), LNTuning()),
    "bert-ia3_norm_biases": Architecture(IA3(), BitFit(targets=("attention_norm",))),
    "bert-oft_biases": Architecture(OFT(block=4), BitFit(), LNTuning(layers=(1,))),
    "bert-vera_biases": Architecture(VeRA(rank=4), BitFit()),
    "llama-loha_ln": Architecture(LoHa(rank=2), LNTuning()),
    "bert-lokr_ln": Architecture(LoKr(rank=2), LNTuning()),
    "bert-bitfit": Architecture(BitFit(), BitFit(targets=("query",))),
    "llama-bitfit": Architecture(BitFit(add=True)),
    "opt-bitfit_ln": Architecture(BitFit(), LNTuning()),
    "gpt2-norm_biases": Architecture(BitFit(targets=("attention_norm", "final_norm"))),
    "llama-new_biases": Architecture(
        LoRA(rank=2, alpha=5.0),
        BitFit(add=True, targets=("query",)),
        BitFit(add=True, targets=("value",)),
    ),
    "qwen2-new_biases": Architecture(
        LoRA(rank=2, targets=("query", "output")), BitFit(add=True, targets=("query", "output"))
    ),
    "llama-adaption": Architecture(LlamaAdapter(length=3, gate_form="per_layer", layers=(1, 2))),
    "mistral-adaption": Architecture(LlamaAdapter(length=2, gate_form="per_layer")),
    "bert-ptuning": Architecture(PTuning(length=3), Prompt(length=2)),
    "llama-ptuning": Architecture(PTuning(length=3, encoder="lstm")),
    "t5_generation-lora": Architecture(LoRA(rank=2)),
    "t5_generation-prompt": Architecture(Prompt(length=2)),
    "t5_encoder-ia3": Architecture(IA3()),
    "bert_masked-lora": Architecture(LoRA(rank=2), BitFit()),
    "vit_classes-dora": Architecture(DoRA(rank=2)),
    "gpt2_causal-ia3": Architecture(IA3()),
    "clip-lora": Architecture(LoRA(rank=2), LNTuning()),
    "clip-ia3": Architecture(IA3()),
    "whisper-lora": Architecture(LoRA(rank=2), BitFit()),
    "vit-oft": Architecture(OFT(block=4)),
    "deberta-lora": Architecture(LoRA(rank=2), LNTuning()),
}


@pytest.fixture(scope="module")
def answers(elsewhere):
    there = elsewhere("peft")
    for case, architecture in CASES.items():
        fresh = built(case.partition("-")[0])
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


IN_16_BITS = [
    LoRA(rank=2, alpha=4.0),
    DoRA(rank=2, alpha=4.0),
    VeRA(rank=4),
    LoHa(rank=2),
    LoKr(rank=2),
    OFT(block=4),
    LNTuning(),
    BitFit(add=True),
    PTuning(length=2),
]


@pytest.mark.parametrize("method", IN_16_BITS, ids=lambda method: method.kind)
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_on_a_bfloat16_backbone(name, method, build_backbone, disturb, tmp_path):
    attached = attach(build_backbone(name).bfloat16(), Architecture(method))
    disturb(attached)
    fresh = build_backbone(name).bfloat16()
    save_as_peft(attached, tmp_path / "a", "base", fresh=fresh)
    assert (tmp_path / "a/adapter_model.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("bert", (SSF(),)),
        ("bert", (DoRA(rank=2), LNTuning(), BitFit())),
        ("llama", (LoRA(rank=2), BitFit(add=True, targets=("query",)))),
        ("llama", (LoRA(rank=2), BitFit(add=True, targets=("query",)), LNTuning())),
        ("llama", (LlamaAdapter(length=2, gate_form="per_layer"),)),
    ],
)
def test_compositions_on_a_bfloat16_backbone(name, methods, build_backbone, disturb, tmp_path):
    attached = attach(build_backbone(name).bfloat16(), Architecture(*methods))
    disturb(attached)
    fresh = build_backbone(name).bfloat16()
    save_as_peft(attached, tmp_path / "a", "base", fresh=fresh)
    assert (tmp_path / "a/adapter_model.safetensors").is_file()


@pytest.mark.parametrize("seed", range(8))
def test_rounding_alone_refuses_no_composition(seed, build_backbone, tmp_path):
    methods = (LoRA(rank=2), BitFit(add=True, targets=("query",)), LNTuning())
    attached = attach(build_backbone("llama").bfloat16(), Architecture(*methods))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    before = {name: tensor.clone() for name, tensor in attached.state_dict().items()}
    fresh = build_backbone("llama").bfloat16()
    save_as_peft(attached, tmp_path / "a", "base", fresh=fresh)
    assert attached.base.dtype == torch.bfloat16
    assert all(torch.equal(tensor, before[name]) for name, tensor in attached.state_dict().items())


ADAPTION = LlamaAdapter(length=2, gate_form="per_layer")
REFUSALS = [
    ("bert", Adapter(bottleneck=2), r"adapter at layers\[0\].* has no bottleneck adapters; keep"),
    ("bert", LoRA(rank=2, gate="unipelt"), r"lora at layers\[0\]\.attention\.query .* no gates"),
    ("gpt2", BitFit(), r"bitfit at layers\[0\]\.attention\.query .* has a Conv1D there"),
    ("bert", Compacter(bottleneck=4), "has no Compacter layers"),
    ("bert", SparseAdapter(bottleneck=4), "has no bottleneck adapters"),
    ("bert", AdaMix(bottleneck=4), "has no bottleneck adapters"),
    ("llama", SSF(targets=("query",)), r"ssf at layers\[0\]\.attention\.query .* needs a bias"),
    ("llama", SSF(targets=("ffn_norm",)), r"ssf at layers\[0\]\.ffn\.norm .* needs a bias"),
    ("gpt2", SSF(), "has a Conv1D there"),
    ("vit", SSF(), "nothing like it at the embedding of patches"),
    ("vit", VPT(length=2), "its prompts stand before words"),
    ("bert", CoDA(bottleneck=2), "passes every token through every layer"),
    ("gpt2", LoHa(rank=2), r"loha at layers\[0\]\.attention\.query .* has a Conv1D there"),
    ("gpt2", LoKr(rank=2, targets=DOWN), "has a Conv1D there"),
    ("gpt2", OFT(block=4, targets=("output",)), "has a Conv1D there"),
    ("gpt2", VeRA(rank=4), r"vera at layers\[0\]\.attention\.query .* whole fused projection"),
    ("gpt_neox", LoKr(rank=2), "change the whole fused projection, not this part of it"),
    ("gpt_neox", OFT(block=4), "change the whole fused projection, not this part of it"),
    ("bert", OFT(block=16, targets=TARGETS), r"one width of blocks .*, not \[12, 16\]"),
    ("bert", ReFT(), "has no ReFT edits"),
    ("bert", FullFineTuning(), "does not hold a whole backbone"),
    ("bert", Prefix(length=2), "with learned positions that is another function"),
    ("bert", Prompt(length=2, entry="hidden"), "not after the embedding layer"),
    ("bert", Prompt(length=2, position="after_first"), "before the first token, not after it"),
    ("llama", Prefix(length=2, layers=(0,)), "same length in every layer"),
    ("llama", Prefix(length=2, gate="unipelt"), "no gates"),
    ("mistral", Prefix(length=2), "out of sight in a sliding window"),
    ("bart", Prefix(length=2), "enters an encoder-decoder in another way"),
    ("whisper", Prompt(length=2), "before words, and this backbone reads input_features"),
    ("llama", LlamaAdapter(layers=(1, 2)), "one plain gate a layer, gate_form='per_layer'"),
    ("llama", ADAPTION.replace(layers=(0, 2)), r"in the topmost layers, \[1, 2\]"),
    ("bert", ADAPTION, "no adaption prompts for bert backbones"),
    ("gpt2", ADAPTION, "branch here behind the output projection, not before"),
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


TWICE = [
    ("loha", (LoHa(rank=2), LoHa(rank=1)), "holds one of them at a linear"),
    ("lokr", (LoKr(rank=2), LoKr(rank=1)), "holds one of them at a linear"),
    ("vera", (VeRA(rank=2), VeRA(rank=2, start=0.2)), "holds one of them at a linear"),
    ("vera", (VeRA(rank=2), VeRA(rank=2, targets=("up",))), "one pair of frozen matrices"),
    ("lokr", (LoKr(rank=1), LoKr(rank=1, factor=2, targets=("up",))), "one and the same factor"),
    ("ia3", (DoRA(rank=2), IA3()), r"holds one of: .*sora \(with bitfit, ln_tuning\); d"),
    ("bitfit", (IA3(), BitFit()), "beside this method it trains no bias"),
]
NEW_BIASES = [
    ((LoRA(rank=2), BitFit(add=True)), "layers[0].attention.key", "only where LoRA acts too"),
    ((DoRA(rank=2), BitFit(add=True)), "layers[0].attention.query", "no bias that it could train"),
    ((OFT(block=4), BitFit(add=True)), "layers[0].attention.query", "no bias that it could train"),
]


@pytest.mark.parametrize(("kind", "methods", "why"), TWICE)
def test_two_that_are_no_one_adapter_are_refused(kind, methods, why, build_backbone):
    with pytest.raises(ValueError, match=rf"{kind}.* {why}.*keep peftnas's own format"):
        to_peft(attach(build_backbone("bert"), Architecture(*methods)))


@pytest.mark.parametrize(("methods", "site", "why"), NEW_BIASES)
def test_biases_that_the_backbone_lacks_are_refused_by_name(methods, site, why, build_backbone):
    attached = attach(build_backbone("llama"), Architecture(*methods))
    with pytest.raises(ValueError, match=rf"bitfit at {re.escape(site)} cannot go .* {why}"):
        to_peft(attached)


def test_adaption_prompts_of_two_lengths_or_twice_in_a_layer_are_refused(build_backbone):
    two = Architecture(ADAPTION.replace(layers=(1,)), ADAPTION.replace(length=3, layers=(2,)))
    with pytest.raises(ValueError, match=r"one length in all layers, not \[2, 3\]"):
        to_peft(attach(build_backbone("llama"), two))
    twice = Architecture(ADAPTION, ADAPTION.replace(layers=(2,)))
    with pytest.raises(ValueError, match="one of them in a layer"):
        to_peft(attach(build_backbone("llama"), twice))


def test_an_adaption_prompt_that_peft_computes_otherwise_is_refused():
    config = CONFIGS["llama"]()
    config.attention_bias = True
    attached = attach(AutoModel.from_config(config), Architecture(ADAPTION))
    with pytest.raises(ValueError, match="bias of the output projection twice"):
        to_peft(attached)
    config = CONFIGS["llama"]()
    config.head_dim = 6
    attached = attach(AutoModel.from_config(config), Architecture(ADAPTION))
    with pytest.raises(ValueError, match="width of all heads for that of the backbone"):
        to_peft(attached)


@pytest.mark.parametrize("method", [ADALORA, SoRA(rank=3, targets=TARGETS)])
def test_ranks_that_training_took_away_are_left_out(method, build_backbone, disturb, tmp_path):
    attached = attach(build_backbone("bert"), Architecture(method))
    disturb(attached)
    gates = [p for name, p in attached.named_parameters() if name.endswith((".E", ".gate"))]
    with torch.no_grad():
        gates[0].zero_()
        gates[1][1] = 0.0
        gates[2][:2] = 0.0
    save_as_peft(attached, tmp_path / "a", "base", fresh=build_backbone("bert"))
    config = json.loads((tmp_path / "a/adapter_config.json").read_text())
    layer = r"encoder\.layer\.0\."
    assert config["r"] == 3 and config["rank_pattern"] == {
        layer + r"attention\.self\.value": 2,
        layer + r"intermediate\.dense": 1,
    }
    found = re.compile(config["target_modules"])
    assert not found.fullmatch("encoder.layer.0.attention.self.query")
    with torch.no_grad():
        for gate in gates:
            gate.zero_()
    with pytest.raises(ValueError, match="training has left no rank that is not 0"):
        to_peft(attached)


def test_biases_that_are_not_trained_keep_their_value(build_backbone, disturb):
    model = build_backbone("bert")
    attached = attach(model, Architecture(LoRA(rank=2), BitFit(targets=("query",))))
    disturb(attached)
    config, tensors = to_peft(attached)
    biases = {name: value for name, value in tensors.items() if name.endswith(".bias")}
    own = {name: value for name, value in model.state_dict().items() if name.endswith(".bias")}
    assert config.bias == "all" and len(biases) == len(own)
    moved = {
        name
        for name, value in biases.items()
        if not torch.equal(
            value, own[name.removeprefix("base_model.model.").replace("base_layer.", "")]
        )
    }
    assert moved == {
        f"base_model.model.encoder.layer.{i}.attention.self.query.base_layer.bias"
        for i in range(3)
    }


def test_nothing_attached_is_refused(build_backbone):
    with pytest.raises(ValueError, match="nothing is attached"):
        to_peft(attach(build_backbone("bert"), Architecture()))


def test_other_outputs_leave_nothing_behind(build_backbone, disturb, tmp_path):
    attached = attach(build_backbone("bert"), Architecture(LoRA(rank=2)))
    disturb(attached)
    config = copy.deepcopy(attached.base.config)
    config.hidden_act = "relu"  # the same weights, another function
    fresh = type(attached.base)(config)
    fresh.load_state_dict(attached.base.state_dict())
    with pytest.raises(ValueError, match=r"outputs differ by .* nothing was written"):
        save_as_peft(attached, tmp_path / "a", "base", fresh=fresh)
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


def test_fresh_may_have_a_head_and_must_have_the_same_weights(build_backbone, disturb, tmp_path):
    from transformers import BertForSequenceClassification

    model = build_backbone("bert")
    headed = BertForSequenceClassification(model.config)
    attached = attach(model, Architecture(LoRA(rank=2)))
    disturb(attached)
    with pytest.raises(ValueError, match="with the same weights, but 'embeddings.word_embeddings"):
        save_as_peft(attached, tmp_path / "a", "base", fresh=headed)
    with pytest.raises(ValueError, match="untouched copy of the backbone; load it once more"):
        save_as_peft(attached, tmp_path / "a", "base", fresh=model)
    assert not (tmp_path / "a").exists()
    headed.bert.load_state_dict(model.state_dict())
    save_as_peft(attached, tmp_path / "a", "base", fresh=headed)
    assert (tmp_path / "a" / "adapter_config.json").exists()
