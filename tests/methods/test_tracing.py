"""What is traced on fake tensors is what real ones save and compute, to the byte and the FLOP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    BitFit,
    FullFineTuning,
    LoRA,
    Prefix,
    Prompt,
    ReFT,
    attach,
    describe,
)
from peftnas.methods.fake_backbone import fake_backbone
from peftnas.methods.reads import Reads, answer_of, inputs_for
from peftnas.methods.saved_tensors import SavedTensors
from peftnas.methods.tracing import FlopCounter, forward_flop, saved_by, trace_training
from tests.methods.conftest import CONFIGS, build

READS = Reads(batch=3, tokens=7)
PADDED = Reads(batch=3, tokens=7, padded=True)

ARCHITECTURES: dict[str, Callable[[PreTrainedModel], Architecture]] = {
    "nothing": lambda model: Architecture(),
    "lora": lambda model: Architecture(LoRA(rank=2, targets=describe(model).targets)),
    "lora above": lambda model: Architecture(LoRA(rank=2, layers=(2,))),
    "gated lora": lambda model: Architecture(LoRA(rank=2, gate="unipelt")),
    "serial": lambda model: Architecture(Adapter(bottleneck=4, site="both")),
    "parallel": lambda model: Architecture(Adapter(bottleneck=4, insertion="parallel")),
    "after_ln": lambda model: Architecture(Adapter(bottleneck=4, placement="after_ln")),
    "prefix": lambda model: Architecture(Prefix(length=3)),
    "prefix mlp": lambda model: Architecture(Prefix(length=3, mlp=5)),
    "prompt": lambda model: Architecture(Prompt(length=3)),
    "ia3": lambda model: Architecture(IA3()),
    "bitfit": lambda model: Architecture(BitFit()),
    "reft": lambda model: Architecture(ReFT(rank=2, first=2, last=1, layers=(1, 2))),
    "full": lambda model: Architecture(FullFineTuning()),
    "unipelt": lambda model: Architecture(
        LoRA(rank=2, gate="unipelt"),
        Adapter(bottleneck=4, gate="unipelt"),
        Prefix(length=3, gate="unipelt"),
    ),
    "mixture": lambda model: Architecture(
        Prompt(length=2),
        Prefix(length=3),
        LoRA(rank=2, layers=(0, 1)),
        Adapter(bottleneck=4, insertion="parallel", layers=(1,)),
        IA3(),
    ),
}


def record(
    model: PreTrainedModel, architecture: Architecture, reads: Reads, dropout: float = 0.0
) -> SavedTensors:
    """What a real model saves."""
    attached = attach(model, architecture, dropout=dropout)
    layers = {i: model.get_submodule(site.path) for i, site in enumerate(describe(model).layers)}
    with saved_by(model, attached, layers) as recorder:
        model(**inputs_for(model, attached.anatomy, reads))
    attached.detach()
    return recorder


def hooks_of(model: nn.Module) -> list[int]:
    return [
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    ]


@pytest.mark.parametrize("reads", [READS, PADDED], ids=["even", "padded"])
@pytest.mark.parametrize("method", ARCHITECTURES)
@pytest.mark.parametrize("name", ["bert", "llama", "t5", "vit", "gpt2"])
def test_saved_bytes_are_those_of_real_tensors(name, method, reads):
    model = build(name)
    if method == "bitfit" and name in ("llama", "t5"):
        with pytest.raises(ValueError, match="has none"):
            attach(model, ARCHITECTURES[method](model))
        return
    architecture = ARCHITECTURES[method](model)
    backbone = fake_backbone(CONFIGS[name](), torch.float32)
    attached = backbone.attach(architecture)
    trace = trace_training(backbone, attached, reads)
    attached.detach()
    real = record(model, architecture, reads)
    assert trace.saved == real.bytes
    assert trace.saved_checkpointed == real.checkpointed_bytes
    assert trace.lowest_layer == real.lowest_layer
    assert (trace.saved == 0) is (method == "nothing")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_every_family_saves_the_same_fake_or_real(any_backbone, method, request):
    name = request.node.callspec.params["any_backbone"]
    architecture = ARCHITECTURES[method](any_backbone)
    backbone = fake_backbone(CONFIGS[name](), torch.float32)
    attached = backbone.attach(architecture)
    trace = trace_training(backbone, attached, PADDED)
    attached.detach()
    real = record(any_backbone, architecture, PADDED)
    assert 0 < trace.saved == real.bytes
    assert trace.saved_checkpointed == real.checkpointed_bytes
    assert trace.lowest_layer == real.lowest_layer == 0


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_16_bit_backbones_save_the_same_fake_or_real(name):
    architecture = Architecture(LoRA(rank=2), Adapter(bottleneck=4))
    backbone = fake_backbone(CONFIGS[name](), torch.bfloat16)
    attached = backbone.attach(architecture)
    trace = trace_training(backbone, attached, READS)
    attached.detach()
    assert trace.saved == record(build(name).bfloat16(), architecture, READS).bytes


def test_eager_attention_saves_its_probabilities():
    config = CONFIGS["bert"]()
    config._attn_implementation = "eager"
    backbone = fake_backbone(config, torch.float32)
    attached = backbone.attach(Architecture(LoRA(rank=2)))
    trace = trace_training(backbone, attached, READS)
    attached.detach()
    real = record(build("bert", attention="eager"), Architecture(LoRA(rank=2)), READS)
    assert trace.saved == real.bytes


def test_dropout_saves_its_masks():
    backbone = fake_backbone(CONFIGS["bert"](), torch.float32)
    architecture = Architecture(LoRA(rank=2, targets=("query",)))
    saved = []
    for dropout in (0.0, 0.1):
        attached = backbone.attach(architecture, dropout)
        saved.append(trace_training(backbone, attached, READS).saved)
        attached.detach()
    tokens, width, layers = 21, 16, 3
    # a CPU keeps a float an element; in the first layer no gradient goes further down
    assert saved[1] - saved[0] == (layers - 1) * tokens * width * 4
    assert saved[1] == record(build("bert"), architecture, READS, dropout=0.1).bytes


def test_checkpointing_keeps_what_transformers_keeps():
    """The forward pass of a real model whose layers are run again, by the same hooks."""
    model = build("llama")
    architecture = Architecture(LoRA(rank=2))
    without = record(model, architecture, READS)
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()
    attached = attach(model, architecture)
    with saved_by(model, attached, {}) as recorder:
        model(**inputs_for(model, attached.anatomy, READS))
    assert recorder.bytes == without.kept_for_rerun
    assert without.kept_for_rerun < without.checkpointed_bytes < without.bytes


def test_a_pass_that_is_measured_takes_no_backward():
    model = build("bert")
    attached = attach(model, Architecture(LoRA(rank=2)))
    with saved_by(model, attached, {}):
        loss = answer_of(model(**inputs_for(model, attached.anatomy, READS))).sum()
    with pytest.raises(RuntimeError, match="only measures"):
        loss.backward()


class TestFlop:
    @pytest.mark.parametrize("name", ["bert", "llama", "t5", "vit", "whisper", "mamba", "deberta"])
    def test_is_that_of_torchs_counter_on_real_tensors(self, name):
        model = build(name)
        inputs = inputs_for(model, describe(model), READS)
        attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

        def cpu(q, k, v, *args, out_shape=None, **kwargs):
            b, h, t, c = q
            return 2 * 2 * b * h * t * k[2] * c

        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping={attention: cpu}) as c:
            model(**inputs)
        with torch.no_grad(), FlopCounter() as ours:
            model(**inputs)
        assert c.get_total_flops() == ours.flop
        assert ours.flop == forward_flop(fake_backbone(CONFIGS[name](), torch.float32), READS)

    def test_knows_a_product(self):
        with FlopCounter() as counter:
            torch.ones(3, 4) @ torch.ones(4, 5)
        assert counter.flop == 2 * 3 * 4 * 5


class TestNothingIsLeftBehind:
    def test_no_hook_no_flag_and_no_random_state(self):
        backbone = fake_backbone(CONFIGS["bert"](), torch.float32)
        before, state = hooks_of(backbone.base), torch.get_rng_state()
        for method in ("mixture", "full", "reft", "unipelt"):
            attached = backbone.attach(ARCHITECTURES[method](backbone.base), dropout=0.1)
            trace_training(backbone, attached, READS, outputs=3)
            attached.detach()
        assert hooks_of(backbone.base) == before
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(parameter.requires_grad for parameter in backbone.base.parameters())

    def test_a_pass_that_fails_leaves_no_hook(self):
        backbone = fake_backbone(CONFIGS["bert"](), torch.float32)
        before = hooks_of(backbone.base)
        attached = backbone.attach(Architecture(Prompt(length=39)))
        with pytest.raises(ValueError, match="exceeds"):
            trace_training(backbone, attached, READS)
        attached.detach()
        assert hooks_of(backbone.base) == before

    def test_making_a_backbone_draws_no_random_number(self):
        state = torch.get_rng_state()
        config = CONFIGS["gpt2"]()
        config.n_inner = 20
        fake_backbone(config, torch.float32)
        assert torch.equal(torch.get_rng_state(), state)

    def test_one_backbone_serves_equal_configs(self):
        one, two = (fake_backbone(CONFIGS["bert"](), torch.float32) for _ in range(2))
        assert one is two
        assert one is not fake_backbone(CONFIGS["bert"](), torch.bfloat16)


def test_too_many_tokens_are_refused():
    model = build("bert")
    with pytest.raises(ValueError, match="at most 40 .*, got 41; take fewer"):
        inputs_for(model, describe(model), Reads(1, 41))


@pytest.mark.parametrize("wrong", [0, -1, 1.5])
def test_sizes_are_whole_numbers(wrong):
    with pytest.raises(ValueError, match="tokens must be a whole number from 1 on"):
        Reads(1, wrong)
