"""What every method has to keep. A new method joins by one line in ``EXAMPLES``."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    IA3,
    METHODS,
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
    DoRA,
    DyLoRA,
    FullFineTuning,
    GatedLoRAPrefix,
    LinearAdapter,
    LlamaAdapter,
    LNTuning,
    LoHa,
    LoKr,
    LoRA,
    Method,
    Prefix,
    Prompt,
    PTuning,
    ReFT,
    SoRA,
    SparseAdapter,
    VeRA,
    attach,
    count,
    describe,
    load,
    stored_parameters,
)
from peftnas.spaces import ByLayer
from tests.methods.conftest import assert_same


@dataclass(frozen=True)
class Example:
    """One method, and what is true of it: starts as the identity; merges into the weights.

    ``needs_bias``, ``encoder``: llama, which has no bias and is none, refuses it. ``whole_text``:
    it reads a whole text before the first token, so it cannot generate.
    """

    method: Method
    identity: bool = True
    merges: bool = False
    needs_bias: bool = False
    encoder: bool = False
    whole_text: bool = False


GATED = {"gate": "unipelt"}
BACKBONES = ("bert", "distilbert", "llama")
EXAMPLES = [
    Example(LoRA(rank=3, alpha=5, targets=("query", "key", "value", "up", "down")), merges=True),
    Example(LoRA(rank=3, **GATED), whole_text=True),
    Example(IA3(), merges=True),
    Example(IA3(targets=("value", "up", "down"), down_side="output"), merges=True),
    Example(BitFit(), merges=True, needs_bias=True),
    Example(Adapter(site="both", bottleneck=4)),
    Example(Adapter(bottleneck=4, scale="learned", layers=(1,), **GATED), whole_text=True),
    Example(Adapter(bottleneck=4, placement="after_ln")),
    Example(Adapter(bottleneck=4, insertion="parallel", parallel_input="residual")),
    Example(Adapter(bottleneck=(6, 4), norm="in", bias=False, activation="tanh")),
    Example(Adapter(site="attention", bottleneck=4, norm="out", drop_below=1)),
    Example(LinearAdapter(bottleneck=4)),
    Example(LinearAdapter(bottleneck=(4, 3), insertion="after", bias=True)),
    Example(LinearAdapter(bottleneck=4, insertion="before", targets=("output", "down"))),
    Example(LlamaAdapter(length=3)),
    Example(LlamaAdapter(length=2, gate_form="per_layer", layers=(1, 2))),
    Example(Prefix(length=3), identity=False),
    Example(Prefix(length=3, mlp=5, gate_outputs=2, **GATED), identity=False, whole_text=True),
    Example(GatedLoRAPrefix(rank=2, length=3), identity=False, whole_text=True),
    Example(
        GatedLoRAPrefix(rank=2, length=3, mlp=5, layers=(0, 2)), identity=False, whole_text=True
    ),
    Example(Prompt(length=3), identity=False),
    Example(Prompt(length=3, entry="hidden", position="after_first"), identity=False),
    Example(PTuning(length=3, hidden=6), identity=False),
    Example(PTuning(length=2, encoder="lstm", hidden=4), identity=False),
    Example(VPT(length=2), identity=False),
    Example(VPT(length=2, deep=False), identity=False),
    Example(Prefix(length=ByLayer({0: 2, 2: 3})), identity=False),
    Example(LNTuning(targets=("ffn_norm",), parts=("weight",)), merges=True),
    Example(Compacter(bottleneck=4), identity=False),
    Example(ReFT(rank=2, first=2, last=1), identity=False),
    Example(ReFT(rank=2, form="direft", tied=True, layers=(0, 2)), identity=False),
    Example(DoRA(rank=3, alpha=5, targets=("query", "up")), merges=True),
    Example(VeRA(rank=4, targets=("query", "up", "down")), merges=True),
    Example(LoHa(rank=2, targets=("value", "up")), merges=True),
    Example(LoKr(rank=2, alpha=3, targets=("value", "up", "down")), merges=True),
    Example(OFT(block=4, targets=("query", "down")), merges=True),
    Example(SSF(targets=("query", "up", "down")), identity=False, merges=True),
    Example(SSF(start="identity", targets=("value", "output")), merges=True),
    Example(LNTuning(), merges=True),
    Example(DyLoRA(rank=3, alpha=2.0), merges=True),
    Example(AdaLoRA(rank=3, target_rank=2), merges=True),
    Example(SoRA(rank=3), merges=True),
    Example(AdaMix(bottleneck=4, experts=3, activation="tanh")),
    Example(SparseAdapter(bottleneck=8, sparsity=0.75), identity=False),
    Example(CoDA(bottleneck=4, token_keep_ratio=0.5), identity=False, encoder=True),
    Example(FullFineTuning(), merges=True),
]
NAMES = [f"{number}-{example.method.kind}" for number, example in enumerate(EXAMPLES)]


def forward(model, batch):
    return model(**batch).last_hidden_state


def number_of_hooks(model) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


@pytest.fixture(params=BACKBONES)
def backbone(request, build_backbone):
    """One of each layout."""
    return build_backbone(request.param)


@pytest.fixture(params=EXAMPLES, ids=NAMES)
def example(request, backbone) -> Example:
    refused = request.param.needs_bias or request.param.encoder
    if refused and backbone.config.model_type == "llama":
        with pytest.raises(ValueError, match="has none|earlier tokens only"):
            attach(backbone, Architecture(request.param.method))
        pytest.skip("checked: refused, this backbone has no bias, or is no encoder")
    return request.param


class TestEveryMethod:
    def test_start_is_the_identity_or_said_not_to_be(self, example, backbone, batch):
        before = forward(backbone, batch)
        attached = attach(backbone, Architecture(example.method))
        after = attached.real(forward(backbone, batch))
        assert torch.equal(before, after) is example.identity

    def test_count_is_the_number_of_trained_elements(self, example, backbone):
        architecture, anatomy = Architecture(example.method), describe(backbone.config)
        attached = attach(backbone, architecture)
        elements = sum(parameter.numel() for parameter in attached.parameters())
        assert count(architecture, anatomy) == elements == attached.count
        assert stored_parameters(architecture, anatomy) > 0
        assert all(parameter.requires_grad for parameter in attached.parameters())

    def test_training_leaves_the_backbone_as_it_was(self, example, backbone, batch, digest):
        before, hooks = digest(backbone), number_of_hooks(backbone)
        names, tree = list(backbone.state_dict()), [name for name, _ in backbone.named_modules()]
        flags = [parameter.requires_grad for parameter in backbone.parameters()]
        attached = attach(backbone, Architecture(example.method))
        assert list(backbone.state_dict()) == names
        assert [name for name, _ in backbone.named_modules()] == tree
        own = {id(parameter) for parameter in attached.parameters()}
        optimizer = torch.optim.Adam(attached.parameters(), lr=0.1)
        loss = forward(backbone, batch).pow(2).sum()
        loss.backward()
        for parameter in backbone.parameters():
            assert parameter.grad is None or id(parameter) in own
        optimizer.step()
        if example.method.kind != "full":
            assert digest(backbone) == before
        assert forward(backbone, batch).pow(2).sum() != loss
        attached.detach()
        attached.detach()
        assert digest(backbone) == before
        assert number_of_hooks(backbone) == hooks
        assert [parameter.requires_grad for parameter in backbone.parameters()] == flags

    def test_every_parameter_takes_part(self, example, backbone, batch, disturb):
        attached = attach(backbone, Architecture(example.method))
        disturb(attached)
        forward(backbone, batch).pow(3).sum().backward()
        size = {
            name: 0.0 if parameter.grad is None else float(parameter.grad.abs().max())
            for name, parameter in attached.named_parameters()
        }
        idle = [name for name in size if size[name] < 1e-6 * max(size.values())]
        # not in this output; and a key bias has no effect without rotary positions
        known = ("pooler", "key/bias", "k_lin/bias", "key.bitfit")
        assert not [name for name in idle if not any(part in name for part in known)]
        assert not (idle and backbone.config.model_type == "llama")

    def test_merged_equals_unmerged(self, example, backbone, batch, digest, disturb):
        attached = attach(backbone, Architecture(example.method))
        disturb(attached)
        before, expected = digest(backbone), forward(backbone, batch)
        report = attached.merge()
        assert bool(report.merged) is example.merges
        assert bool(report.remaining) is not example.merges
        assert_same(forward(backbone, batch), expected)
        merged = digest(backbone)
        assert attached.merge() == report
        assert digest(backbone) == merged
        attached.unmerge()
        assert digest(backbone) == before
        assert torch.equal(forward(backbone, batch), expected)

    def test_detach_undoes_a_merge(self, example, backbone, digest, disturb):
        before = digest(backbone)
        attached = attach(backbone, Architecture(example.method))
        disturb(attached)
        attached.merge()
        attached.detach()
        assert digest(backbone) == before

    def test_saved_and_loaded_are_the_same(self, example, backbone, batch, disturb, tmp_path):
        attached = attach(backbone, Architecture(example.method), seed=3)
        disturb(attached)
        expected = forward(backbone, batch)
        attached.detach()
        attached.save(tmp_path)
        loaded = load(tmp_path, backbone)
        assert loaded.architecture == attached.architecture
        assert torch.equal(forward(backbone, batch), expected)

    def test_start_depends_on_seed_and_site_alone(self, example, backbone):
        other = LoRA(rank=2, targets=("output",))
        starts = []
        for methods, seed in (((example.method,), 1), ((other, example.method), 1)):
            attached = attach(backbone, Architecture(*methods), seed=seed)
            starts.append({n: p.detach().clone() for n, p in attached.named_parameters()})
            attached.detach()
        assert all(torch.equal(starts[1][name], value) for name, value in starts[0].items())

    def test_padding_tokens_do_not_matter(self, example, backbone, batch, disturb):
        attached = attach(backbone, Architecture(example.method))
        disturb(attached)
        real = batch["attention_mask"].bool()
        others = batch["input_ids"].where(real, torch.full_like(batch["input_ids"], 9))
        changed = batch | {"input_ids": others}
        one, two = (attached.real(forward(backbone, inputs)) for inputs in (batch, changed))
        assert_close(one[real], two[real])

    def test_order_of_the_batch_does_not_matter(self, example, backbone, batch, disturb):
        attached = attach(backbone, Architecture(example.method))
        disturb(attached)
        turned = {name: value.flip(0) for name, value in batch.items()}
        assert_close(forward(backbone, turned).flip(0), forward(backbone, batch))

    def test_eager_attention_gives_the_same(self, example, backbone, batch, disturb):
        attached = attach(backbone, Architecture(example.method), seed=5)
        disturb(attached)
        expected = attached.real(forward(backbone, batch))
        state = {name: value.clone() for name, value in attached.state_dict().items()}
        attached.detach()
        backbone.set_attn_implementation("eager")
        again = attach(backbone, Architecture(example.method))
        again.load_state_dict(state)
        actual = again.real(forward(backbone, batch))
        real = batch["attention_mask"].bool()
        assert_close(actual[real], expected[real], atol=1e-4, rtol=1e-4)

    def test_runs_and_learns_on_a_16_bit_backbone(self, example, backbone, batch):
        backbone.to(torch.bfloat16)
        attached = attach(backbone, Architecture(example.method))
        out = forward(backbone, batch)
        assert out.dtype == torch.bfloat16
        out.float().pow(2).sum().backward()
        assert any(parameter.grad is not None for parameter in attached.parameters())
        if example.method.kind != "full":
            assert {parameter.dtype for parameter in attached.parameters()} == {torch.float32}


def test_every_method_has_an_example():
    # only encoder-decoders have a cross-attention: tests/methods/test_cross_attention.py
    kinds = {example.method.kind for example in EXAMPLES} | {"cross_attention_tuning"}
    assert kinds == set(METHODS)
