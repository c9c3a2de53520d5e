"""What has to hold on every family, with one method of each way to act on a backbone."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.testing import assert_close
from transformers import PreTrainedModel

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    Adapter,
    Architecture,
    BitFit,
    DoRA,
    LNTuning,
    LoKr,
    LoRA,
    Prefix,
    Prompt,
    VeRA,
    attach,
    count,
    describe,
    load,
)
from peftnas.methods.base import Method
from tests.methods.conftest import assert_same, output, precise

NAMES = ("lora", "gated lora", "ia3", "serial", "after_ln", "parallel", "prefix", "prompt")
MORE = ("dora", "vera", "lokr", "oft", "ssf", "ln_tuning")
CONSTANT = ("lora", "dora", "vera", "lokr", "oft", "ia3", "ssf", "ln_tuning")


def method_named(name: str, model: PreTrainedModel) -> Method:
    """A method on everything of its kind that the backbone has."""
    anatomy = describe(model)
    mixer = "mixer" in {address.rpartition(".")[2] for address in anatomy.sublayers}
    site, cross = ("mixer" if mixer else "both"), "cross_query" in anatomy.targets
    scaled = [name for name in ("key", "value", "down", "in_proj") if name in anatomy.targets]
    attention = ("attention", "cross_attention") if cross else ("attention",)
    made: dict[str, Method] = {
        "lora": LoRA(rank=2, targets=anatomy.targets),
        "gated lora": LoRA(rank=2, targets=anatomy.targets, gate="unipelt"),
        "ia3": IA3(targets=tuple(scaled)),
        "serial": Adapter(site=site, bottleneck=4, activation="tanh"),
        "after_ln": Adapter(site=site, placement="after_ln", bottleneck=4, activation="tanh"),
        "parallel": Adapter(
            site=site, insertion="parallel", bottleneck=4, activation="tanh", gate="unipelt"
        ),
        "prefix": Prefix(length=2, sublayers=attention, gate="unipelt"),
        "prompt": Prompt(length=2, position="after_first"),
        "dora": DoRA(rank=2, targets=anatomy.targets),
        "vera": VeRA(rank=3, targets=anatomy.targets),
        "lokr": LoKr(rank=2, targets=anatomy.targets),
        "oft": OFT(block=4, targets=anatomy.targets),
        "ssf": SSF(start="identity"),
        "ln_tuning": LNTuning(),
    }
    return made[name]


@pytest.fixture(params=[*NAMES, *(pytest.param(name, marks=pytest.mark.slow) for name in MORE)])
def architecture(request, any_backbone) -> Architecture:
    """An architecture of one method; skipped where it is refused with the reason."""
    any_backbone.requires_grad_(False)  # gradients of weights choose other kernels
    if request.param == "prefix":
        model_type = any_backbone.config.model_type
        if model_type in ("deberta-v2", "mamba"):
            with pytest.raises(ValueError, match="no prefix|do not exist in mamba"):
                attach(any_backbone, Architecture(Prefix(length=2)))
            pytest.skip("checked: refused, no attention that a prefix can enter")
    return Architecture(method_named(request.param, any_backbone))


class TestEveryFamily:
    def test_start_count_and_training(self, any_backbone, architecture, inputs_of, digest):
        inputs, before = inputs_of(any_backbone), digest(any_backbone)
        bare = output(any_backbone, inputs)
        attached = attach(any_backbone, architecture)
        assert attached.count == count(architecture, describe(any_backbone.config))
        started = output(any_backbone, inputs)
        [method] = architecture.methods
        if method.kind in ("prefix", "prompt"):
            assert started.shape != bare.shape or not torch.equal(started, bare)
        elif (any_backbone.config.model_type, method.kind) == ("mamba", "oft"):
            assert_close(started, bare)  # another layout in memory chooses another kernel
        else:
            assert torch.equal(started, bare)
        optimiser = torch.optim.Adam(attached.parameters(), lr=0.05)
        for _ in range(2):
            optimiser.zero_grad()
            output(any_backbone, inputs).pow(2).sum().backward()
            optimiser.step()
        assert all(parameter.grad is None for parameter in any_backbone.parameters())
        assert not torch.equal(output(any_backbone, inputs), started)
        attached.detach()
        assert digest(any_backbone) == before
        assert torch.equal(output(any_backbone, inputs), bare)

    def test_every_parameter_takes_part(self, any_backbone, architecture, inputs_of, disturb):
        attached = attach(any_backbone, architecture)
        disturb(attached)
        output(any_backbone, inputs_of(any_backbone)).pow(3).sum().backward()
        idle = [
            name
            for name, parameter in attached.named_parameters()
            if parameter.grad is None or not parameter.grad.any()
        ]
        assert not idle

    def test_merged_equals_unmerged(self, any_backbone, architecture, inputs_of, disturb, digest):
        """Within 1e-5 of the largest value, in float32."""
        precise(any_backbone)
        inputs, before = inputs_of(any_backbone), digest(any_backbone)
        attached = attach(any_backbone, architecture)
        disturb(attached)
        expected = output(any_backbone, inputs)
        report = attached.merge()
        [method] = architecture.methods
        constant = method.kind in CONSTANT and getattr(method, "gate", None) is None
        assert bool(report.merged) is constant
        assert_same(output(any_backbone, inputs), expected)
        attached.unmerge()
        assert digest(any_backbone) == before
        assert torch.equal(output(any_backbone, inputs), expected)

    def test_saved_copied_and_pickled(
        self, any_backbone, architecture, inputs_of, disturb, tmp_path
    ):
        inputs = inputs_of(any_backbone)
        attached = attach(any_backbone, architecture, seed=3)
        disturb(attached)
        expected = output(any_backbone, inputs)
        attached.save(tmp_path)
        for model in (copy.deepcopy(any_backbone), pickle.loads(pickle.dumps(any_backbone))):
            assert torch.equal(output(model, inputs), expected)
        attached.detach()
        load(tmp_path, any_backbone)
        assert torch.equal(output(any_backbone, inputs), expected)

    def test_order_of_the_batch_does_not_matter(
        self, any_backbone, architecture, inputs_of, disturb
    ):
        inputs = inputs_of(any_backbone)
        disturb(attach(any_backbone, architecture))
        turned = {name: value.flip(0) for name, value in inputs.items()}
        actual, expected = output(any_backbone, turned).flip(0), output(any_backbone, inputs)
        if any_backbone.config.model_type == "mamba":
            assert_close(actual, expected, atol=1e-4, rtol=1e-4)
        else:
            assert_close(actual, expected)

    def test_runs_on_a_16_bit_backbone(self, any_backbone, architecture, inputs_of):
        any_backbone.to(torch.bfloat16)
        inputs = {
            name: value.bfloat16() if value.is_floating_point() else value
            for name, value in inputs_of(any_backbone).items()
        }
        dtype = output(any_backbone, inputs).dtype  # mamba keeps its stream in float32
        attached = attach(any_backbone, architecture)
        out = output(any_backbone, inputs)
        assert out.dtype == dtype
        out.float().pow(2).sum().backward()
        assert any(parameter.grad is not None for parameter in attached.parameters())


def test_all_biases(any_backbone, inputs_of, disturb):
    """Of linears and of norms; those of convolutions are none."""
    anatomy = describe(any_backbone)
    there = [site for site in (*anatomy.linears.values(), *anatomy.norms.values()) if site.bias]
    if not there:
        with pytest.raises(ValueError, match="has none"):
            attach(any_backbone, Architecture(BitFit()))
        return
    sizes = [site.n_out if hasattr(site, "n_out") else site.width for site in there]
    before = output(any_backbone, inputs_of(any_backbone))
    attached = attach(any_backbone, Architecture(BitFit()))
    assert attached.count == sum(sizes)
    assert set(attached.sites) == {site.address for site in there}
    disturb(attached)
    assert not torch.equal(output(any_backbone, inputs_of(any_backbone)), before)
    expected = output(any_backbone, inputs_of(any_backbone))
    assert not attached.merge().remaining
    assert_same(output(any_backbone, inputs_of(any_backbone)), expected)
