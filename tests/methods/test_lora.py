"""LoRA: parity with HF peft, spellings of the scale, counts."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Architecture, LoRA, attach, count, describe
from peftnas.methods.call import gated as apply_gated
from peftnas.spaces.keys import function_key, train_key
from peftnas.spaces.structure import ByLayer

# peft reads an attribute that transformers has renamed
PEFT_WARNING = "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
PATHS = {
    "bert": {
        "query": "attention.self.query",
        "value": "attention.self.value",
        "output": "attention.output.dense",
        "up": "intermediate.dense",
        "down": "output.dense",
    },
    "llama": {
        "query": "self_attn.q_proj",
        "value": "self_attn.v_proj",
        "output": "self_attn.o_proj",
        "up": "mlp.up_proj",
        "gate_proj": "mlp.gate_proj",
        "down": "mlp.down_proj",
    },
}


@pytest.mark.filterwarnings(PEFT_WARNING)
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_equals_hf_peft(name, rslora, build_backbone, batch, disturb):
    peft = pytest.importorskip("peft")
    targets, rank, alpha = tuple(PATHS[name]), 3, 5.0
    ours = build_backbone(name)
    attached = attach(
        ours, Architecture(LoRA(rank=rank, alpha=alpha, targets=targets, rslora=rslora))
    )
    disturb(attached)
    pattern = "|".join(path.replace(".", r"\.") for path in PATHS[name].values())
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        use_rslora=rslora,
        lora_dropout=0.0,
        target_modules=rf".*layers?\.\d+\.({pattern})",
    )
    theirs = peft.get_peft_model(build_backbone(name), config).eval()
    pairs = []
    with torch.no_grad():
        for placement, module in attached.placed:
            layer = theirs.base_model.model.get_submodule(
                describe(ours).linears[placement.site].path
            )
            for mine, other in (
                (module.A, layer.lora_A["default"].weight),
                (module.B, layer.lora_B["default"].weight),
            ):
                other.copy_(mine)
                pairs.append((mine, other))
    trainable = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    assert len(pairs) == len(trainable)
    assert attached.count == sum(parameter.numel() for parameter in trainable)
    outputs = [model(**batch).last_hidden_state for model in (ours, theirs)]
    assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)
    for out in outputs:
        out.pow(2).sum().backward()
    for mine, other in pairs:
        assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4)


def test_count_under_grouped_queries(build_backbone):
    anatomy = describe(build_backbone("llama").config)
    architecture = Architecture(LoRA(rank=2, targets=("query", "value")))
    assert count(architecture, anatomy) == 3 * (2 * (16 + 16) + 2 * (16 + 8))


def test_rank_by_layer_and_absent_layers(build_backbone):
    anatomy = describe(build_backbone("bert").config)
    method = LoRA(rank=ByLayer({0: 4, 1: 0, 2: 4}), targets=("value", "query"))
    assert {placement.site for placement in method.place(anatomy)} == {
        f"layers[{layer}].attention.{name}" for layer in (0, 2) for name in ("query", "value")
    }
    canonical = anatomy.canonical(Architecture(method))
    assert canonical == Architecture(LoRA(rank=4, targets=("query", "value"), layers=(0, 2)))


def test_gate_replaces_the_scale(build_backbone, batch):
    model = build_backbone("bert")
    gated = [LoRA(rank=2, alpha=alpha, gate="unipelt") for alpha in (None, 32)]
    anatomy = describe(model)
    keys = {train_key(anatomy.place(Architecture(method))) for method in gated}
    assert len(keys) == 1
    assert anatomy.canonical(Architecture(gated[1])) == Architecture(gated[0])
    attached = attach(model, Architecture(gated[1]))
    module = attached.at("layers[0].attention.query", "lora")
    torch.nn.init.normal_(module.B)
    x = torch.randn(2, 4, 16)
    tokens = torch.tensor([[True, True, True, False], [True, True, False, False]])
    opened = torch.sigmoid(x @ module.gate.weight[0] + module.gate.bias)
    means = torch.stack([opened[0, :3].mean(), opened[1, :2].mean()])
    expected = means[:, None, None] * (x @ module.A.T @ module.B.T)
    assert_close(apply_gated(module, x, x, x, tokens), expected)


def test_spellings_of_one_scale_become_one(build_backbone):
    anatomy = describe(build_backbone("bert").config)

    def canonical(method):
        return anatomy.canonical(Architecture(method))

    assert canonical(LoRA(rank=4, alpha=4)) == Architecture(LoRA(rank=4))
    assert canonical(LoRA(rank=4, alpha=4, rslora=True)) == Architecture(LoRA(rank=4, alpha=8.0))
    assert canonical(LoRA(rank=4, alpha=8)) == Architecture(LoRA(rank=4, alpha=8.0))
    assert canonical(LoRA(rank=1, rslora=True)) == Architecture(LoRA(rank=1))
    apart = {train_key(anatomy.place(Architecture(LoRA(rank=4, alpha=a)))) for a in (2, 4, 8)}
    assert len(apart) == 3
    placed = [anatomy.place(Architecture(LoRA(rank=4, alpha=alpha))) for alpha in (2, 4, 8)]
    alike = {function_key(placements, anatomy) for placements in placed}
    assert len(alike) == 1


def test_rslora_scale(build_backbone):
    anatomy = describe(build_backbone("bert").config)
    scales = {placement.scale for placement in LoRA(rank=8, rslora=True).place(anatomy)}
    assert scales == {8 / math.sqrt(8)}


def test_rank_beyond_the_matrix_is_another_training_of_the_same_functions(build_backbone):
    anatomy = describe(build_backbone("bert").config)
    full, beyond = (anatomy.place(Architecture(LoRA(rank=rank))) for rank in (16, 20))
    assert function_key(full, anatomy) == function_key(beyond, anatomy)
    assert train_key(full) != train_key(beyond)


def test_dropout_acts_in_training_only(build_backbone, batch, disturb):
    model = build_backbone("bert")
    attached = attach(model, Architecture(LoRA(rank=4)), dropout=0.5)
    disturb(attached)
    torch.manual_seed(0)
    trained = [model(**batch).last_hidden_state for _ in range(2)]
    assert not torch.equal(*trained)
    attached.eval()
    evaluated = [model(**batch).last_hidden_state for _ in range(2)]
    assert torch.equal(*evaluated)


def test_unknown_target_says_what_there_is(build_backbone):
    anatomy = describe(build_backbone("bert").config)
    method = LoRA(targets=("query", "gate_proj"))
    with pytest.raises(ValueError, match=r"\['gate_proj'\] do not exist in bert .* query, key"):
        anatomy.canonical(Architecture(method))
    with pytest.raises(ValueError, match=r"layers in 0..2 .* got \[7\]"):
        count(Architecture(LoRA(layers=(0, 7))), anatomy)


def test_a_rank_for_each_target(build_backbone):
    anatomy = describe(build_backbone("bert"))
    architecture = Architecture(*LoRA.by_target({"query": 3, "up": 2, "value": 0}, alpha=4))
    assert count(architecture, anatomy) == 3 * (3 * 32 + 2 * 40)


def test_rate_of_b_is_told_and_changes_the_training_alone(build_backbone):
    model = build_backbone("bert")
    plain, fast = LoRA(rank=2), LoRA(rank=2, b_rate=16.0)
    attached = attach(model, Architecture(fast))
    rates = attached.rates()
    assert set(rates.values()) == {16.0}
    assert set(rates) == {module.B for _, module in attached.placed}
    anatomy = describe(model)
    placements = [anatomy.place(Architecture(method)) for method in (plain, fast)]
    assert train_key(placements[0]) != train_key(placements[1])
    assert function_key(placements[0], anatomy) == function_key(placements[1], anatomy)
