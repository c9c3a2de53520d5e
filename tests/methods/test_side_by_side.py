"""Several architectures on one backbone at once: each row is as if it were alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    AdaLoRA,
    Adapter,
    Architecture,
    BitFit,
    Compacter,
    DoRA,
    FullFineTuning,
    LinearAdapter,
    LlamaAdapter,
    LNTuning,
    LoRA,
    Prefix,
    Prompt,
    ReFT,
    VeRA,
    attach,
    attach_side_by_side,
    describe,
)
from peftnas.methods.anatomies import DEBERTA

TEXT = ("bert", "distilbert", "albert", "gpt2", "gpt_neox", "llama", "mistral", "gemma2", "opt")
OTHERS = ("t5", "bart", "vit", "whisper")
ROWS = (2, 0, 1, 1, 0, 2, 1)
MANY = [
    Architecture(LoRA(rank=2, targets=("query", "up")), Adapter(site="both", bottleneck=3)),
    Architecture(Prefix(length=3), IA3(targets=("value", "down")), LNTuning()),
    Architecture(Prefix(length=1, mlp=4), Adapter(placement="after_ln", bottleneck=2)),
    Architecture(DoRA(rank=2), SSF(targets=("up", "ffn_norm")), OFT(block=4, targets=("down",))),
    Architecture(VeRA(rank=3), Compacter(bottleneck=4), LlamaAdapter(length=2)),
    Architecture(AdaLoRA(rank=3, target_rank=2), ReFT(rank=2), LinearAdapter(bottleneck=3)),
    Architecture(LoRA(rank=3, gate="unipelt"), Prefix(length=2, gate="unipelt")),
    Architecture(),
]


def inputs_for(model, count, inputs_of):
    """As many different examples, some of them padded."""
    made = [inputs_of(model) for _ in range(3)]
    rows = {name: torch.cat([one[name] for one in made])[:count] for name in made[0]}
    generator = torch.Generator().manual_seed(3)
    for name, value in rows.items():
        if name in ("input_ids", "decoder_input_ids"):
            other = torch.randint(3, 60, value.shape, generator=generator)
            rows[name] = other.where(value != 0, value)
        elif value.is_floating_point():
            rows[name] = value + torch.randn(value.shape, generator=generator)
    return rows


def alone(model, architecture, inputs, rows, state):
    """Output and gradients of some rows with one architecture."""
    attached = attach(model, architecture)
    attached.load_state_dict(state)
    out = model(**{name: value[rows] for name, value in inputs.items()}).last_hidden_state
    if attached.count:
        out.pow(2).mean().backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in attached.parameters()]
    attached.detach()
    return out.detach(), gradients


def compare(model, architectures, numbers, inputs, disturb, digest):
    model.requires_grad_(False)
    before = digest(model)
    bare = model(**inputs).last_hidden_state
    several = attach_side_by_side(model, architectures)
    for member in several.members:
        disturb(member)
    states = [{k: v.clone() for k, v in m.state_dict().items()} for m in several.members]
    with several.rows(numbers):
        out = model(**inputs).last_hidden_state
        which = torch.tensor(numbers)
        losses = [out[which == k].pow(2).mean() for k in set(numbers)]
        torch.stack(losses).sum().backward()
    several.detach()
    several.detach()
    assert digest(model) == before
    assert torch.equal(model(**inputs).last_hidden_state, bare)
    for number, (member, state) in enumerate(zip(several.members, states, strict=True)):
        rows = [row for row, owner in enumerate(numbers) if owner == number]
        if not rows:
            continue
        expected, gradients = alone(model, member.architecture, inputs, rows, state)
        assert_close(out[rows].detach(), expected, atol=1e-5, rtol=1e-5)
        for parameter, gradient in zip(member.parameters(), gradients, strict=True):
            if gradient is not None:
                assert_close(parameter.grad, gradient, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", TEXT)
def test_three_architectures_on_every_family(name, build_backbone, inputs_of, disturb, digest):
    model = build_backbone(name)
    compare(model, MANY[:3], ROWS, inputs_for(model, 7, inputs_of), disturb, digest)


@pytest.mark.parametrize("name", OTHERS)
def test_encoder_decoders_and_images(name, build_backbone, inputs_of, disturb, digest):
    model = build_backbone(name)
    compare(model, MANY[:3], ROWS, inputs_for(model, 7, inputs_of), disturb, digest)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_all_methods(name, build_backbone, inputs_of, disturb, digest):
    model = build_backbone(name)
    numbers = (0, 1, 2, 3, 4, 5, 6, 7, 4)
    compare(model, MANY, numbers, inputs_for(model, 9, inputs_of), disturb, digest)


def test_biases_and_left_padding(build_backbone, batch, disturb, digest):
    turned = {name: value.flip(1) for name, value in batch.items()}
    model = build_backbone("llama")
    pair = [Architecture(Prefix(length=2)), Architecture(LoRA(rank=2))]
    compare(model, pair, (0, 1, 0), turned, disturb, digest)
    model = build_backbone("bert")
    pair = [Architecture(BitFit()), Architecture(Adapter(bottleneck=2))]
    compare(model, pair, (0, 1, 0), batch, disturb, digest)


def test_one_step_of_training_is_that_of_each_alone(build_backbone, batch):
    model = build_backbone("bert")
    architectures = [Architecture(LoRA(rank=2)), Architecture(Adapter(bottleneck=3))]
    several = attach_side_by_side(model, architectures, seeds=[3, 4])
    optimiser = torch.optim.Adam([p for m in several.members for p in m.parameters()], lr=0.1)
    both = {name: torch.cat([value, value]) for name, value in batch.items()}
    with several.rows([0, 0, 0, 1, 1, 1]):
        out = model(**both).last_hidden_state
    (out[:3].pow(3).mean() + out[3:].pow(3).mean()).backward()
    optimiser.step()
    packed = [[p.detach().clone() for p in m.parameters()] for m in several.members]
    several.detach()
    for architecture, seed, values in zip(architectures, (3, 4), packed, strict=True):
        attached = attach(model, architecture, seed=seed)
        single = torch.optim.Adam(attached.parameters(), lr=0.1)
        model(**batch).last_hidden_state.pow(3).mean().backward()
        single.step()
        for value, own in zip(values, attached.parameters(), strict=True):
            assert_close(value, own.detach(), atol=1e-5, rtol=1e-5)
        attached.detach()


class TestRefusals:
    @pytest.mark.parametrize(
        "method, reason",
        [
            (Prompt(length=2), "a prompt makes the rows .* longer .*"),
            (FullFineTuning(), "full fine-tuning changes the weights that all .* share"),
        ],
        ids=["prompt", "full"],
    )
    def test_prompts_and_full_fine_tuning(self, build_backbone, digest, method, reason):
        model = build_backbone("bert")
        before = digest(model)
        with pytest.raises(ValueError, match=f"{reason}, got .*; leave that out, or attach"):
            attach_side_by_side(model, [Architecture(LoRA()), Architecture(method)])
        assert digest(model) == before
        assert not any(module._forward_hooks for module in model.modules())
        assert all(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize(
        "given, sentence",
        [
            (Architecture(LoRA()), "a list of architectures, got an? Architecture; put it into"),
            (["lora"], "lora"),
        ],
        ids=["no_list", "methods"],
    )
    def test_what_are_no_architectures(self, build_backbone, given, sentence):
        with pytest.raises(TypeError, match=sentence):
            attach_side_by_side(build_backbone("bert"), given)

    def test_none_at_all(self, build_backbone):
        with pytest.raises(ValueError, match="at least one architecture, got none; name one"):
            attach_side_by_side(build_backbone("bert"), [])

    @pytest.mark.parametrize("seeds", [[1], [1, 2, 3], 1])
    def test_seeds(self, build_backbone, seeds):
        pair = [Architecture(LoRA()), Architecture(LoRA())]
        with pytest.raises(ValueError, match="one for each of 2 architectures, got .*; give as m"):
            attach_side_by_side(build_backbone("bert"), pair, seeds=seeds)

    def test_a_wrong_dropout(self, build_backbone):
        with pytest.raises(ValueError, match="got 1.0; take 0 for none"):
            attach_side_by_side(build_backbone("bert"), [Architecture(LoRA())], dropout=1.0)

    @pytest.mark.parametrize("numbers", [0, ["a", "b"], [0.0, 1.0], None])
    def test_rows_that_are_no_numbers(self, build_backbone, numbers):
        several = attach_side_by_side(build_backbone("bert"), [Architecture(LoRA())])
        with pytest.raises(TypeError, match="give a list of whole numbers"), several.rows(numbers):
            pass

    def test_repeats(self, build_backbone, batch):
        model = build_backbone("bert")
        several = attach_side_by_side(model, [Architecture(LoRA())])
        with pytest.raises(ValueError, match="from 1 on, got 0"), several.rows([0], repeats=0):
            pass
        sentence = r"a batch of 3 and 2 assigned rows \(2 times each"
        with several.rows([0, 0], repeats=2), pytest.raises(RuntimeError, match=sentence):
            model(**batch)

    def test_rows(self, build_backbone, batch):
        model = build_backbone("bert")
        several = attach_side_by_side(model, [Architecture(LoRA()), Architecture()])
        with pytest.raises(RuntimeError, match="must be assigned"):
            model(**batch)
        with several.rows([0, 1]), pytest.raises(RuntimeError, match="a batch of 3 and 2"):
            model(**batch)
        with pytest.raises(ValueError, match="0 to 1"), several.rows([0, 2]):
            pass
        with several.rows([0]), pytest.raises(ValueError, match="already"), several.rows([1]):
            pass

    def test_merging_and_a_second_attachment(self, build_backbone):
        model = build_backbone("bert")
        several = attach_side_by_side(model, [Architecture(LoRA())])
        with pytest.raises(RuntimeError, match="share the weights"):
            several.members[0].merge()
        with pytest.raises(ValueError, match="one architecture at a time"):
            attach(model, Architecture())
        several.detach()
        attach(model, Architecture())

    @pytest.mark.parametrize(
        "method, site",
        [
            (LoRA(targets=("key",)), r"layers\[0\].attention.key"),
            (IA3(targets=("query",)), r"layers\[0\].attention.query"),
            (SSF(targets=("query",)), r"layers\[0\].attention.query"),
            (LNTuning(targets=("relative_norm",)), "relative_norm"),
        ],
        ids=["lora", "ia3", "ssf", "ln_tuning"],
    )
    def test_what_all_rows_read_at_once(self, build_backbone, digest, method, site):
        model = build_backbone("deberta")
        before = digest(model)
        sentence = f"{site} computes something for all rows of a batch at once, got"
        with pytest.raises(ValueError, match=sentence):
            attach_side_by_side(model, [Architecture(), Architecture(method)])
        assert digest(model) == before
        assert not any(module._forward_hooks for module in model.modules())

    def test_a_family_that_does_not_say_what_all_rows_share(self, build_backbone, batch):
        model = build_backbone("deberta")
        stack = dataclasses.replace(DEBERTA.stacks[0], shared={})
        anatomy = describe(model, dataclasses.replace(DEBERTA, stacks=(stack,)))
        pair = [Architecture(LoRA(targets=("key",))), Architecture()]
        several = attach_side_by_side(model, pair, anatomy=anatomy)
        with several.rows([0, 1, 0]), pytest.raises(RuntimeError, match="no rows of the batch"):
            model(**batch)
