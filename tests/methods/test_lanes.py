"""Rows of a batch that have no architecture, share something, or are computed again."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    SSF,
    Adapter,
    Architecture,
    LNTuning,
    LoRA,
    Prefix,
    attach,
    attach_side_by_side,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*use_reentrant")

THREE = [
    Architecture(LoRA(rank=2)),
    Architecture(Prefix(length=2), LNTuning()),
    Architecture(Adapter(site="both", bottleneck=3)),
]


class TestAnUnusedMember:
    @pytest.mark.parametrize("masked", [True, False])
    @pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "opt", "t5"])
    @pytest.mark.parametrize("used", [0, 1, 2])
    def test_is_as_if_it_were_not_there(
        self, name, masked, used, build_backbone, inputs_of, disturb
    ):
        model = build_backbone(name).double()
        inputs = inputs_of(model)
        if not masked:
            inputs.pop("attention_mask")
        attached = attach(model, THREE[used])
        disturb(attached)
        expected = model(**inputs).last_hidden_state
        expected.pow(2).sum().backward()
        own = [parameter.grad for parameter in attached.parameters()]
        attached.detach()
        several = attach_side_by_side(model, THREE)
        for member in several.members:
            disturb(member)
        with several.rows([used] * 3):
            out = model(**inputs).last_hidden_state
        out.pow(2).sum().backward()
        assert_close(out, expected, atol=1e-6, rtol=1e-6)
        found = [parameter.grad for parameter in several.members[used].parameters()]
        assert_close(found, own, atol=1e-6, rtol=1e-6)
        for number, member in enumerate(several.members):
            if number != used:
                assert all(parameter.grad is None for parameter in member.parameters())


class TestTheTableOfDistances:
    """DeBERTa projects it with the weights that project the text."""

    @pytest.mark.parametrize("batch_size", [1, 2, 4, 8, 16])
    def test_other_sites_work_whatever_the_batch(self, build_backbone, disturb, batch_size):
        model = build_backbone("deberta")
        pair = [
            Architecture(LoRA(rank=2, targets=("value", "up")), SSF(targets=("ffn_norm",))),
            Architecture(Adapter(bottleneck=3)),
        ]
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(3, 60, (batch_size, 6), generator=generator)
        expected = []
        for architecture in pair:
            attached = attach(model, architecture)
            disturb(attached)
            expected.append(model(ids).last_hidden_state.detach())
            attached.detach()
        several = attach_side_by_side(model, pair)
        for member in several.members:
            disturb(member)
        numbers = torch.arange(batch_size) % 2
        with several.rows(numbers), torch.no_grad():
            out = model(ids).last_hidden_state
        wanted = torch.where((numbers == 0)[:, None, None], *expected)
        assert_close(out, wanted, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_it_never_gets_the_mask_of_a_text(self, build_backbone, checkpointing):
        """Not even of one text that is as long as the table."""
        model = build_backbone("deberta")
        if checkpointing:
            model.activation_checkpointing_enable()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        span = 2 * model.encoder.layer[0].attention.self.pos_ebd_size
        gated = LoRA(rank=2, targets=("query", "key"), gate="unipelt")
        attached = attach(model, Architecture(gated))
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in attached.parameters():
                parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
        ids = torch.randint(3, 60, (1, span), generator=generator)
        mask = (torch.arange(span) < 5).long()[None]
        answers = []
        for copies in (1, 2):
            attached.zero_grad()
            out = model(ids.repeat(copies, 1), attention_mask=mask.repeat(copies, 1))
            out.last_hidden_state[0, :5].pow(2).sum().backward()
            grads = [parameter.grad.clone() for parameter in attached.parameters()]
            answers.append((out.last_hidden_state[0, :5].detach(), grads))
        assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5"])
def test_checkpointing_computes_again_with_the_rows_of_the_pass(
    name, reentrant, build_backbone, inputs_of, disturb
):
    """Maybe when no rows are assigned any more, or others."""
    found = []
    for checkpointing in (False, True):
        model = build_backbone(name)
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.train()
        several = attach_side_by_side(model, THREE)
        for member in several.members:
            disturb(member)
        inputs = inputs_of(model)
        losses = []
        for numbers in ([0, 1, 2], [2, 2, 0]):
            with several.rows(numbers):
                losses.append(model(**inputs).last_hidden_state.pow(2).mean())
        with several.rows([1, 1, 1]), torch.no_grad():
            model.eval()(**inputs)
        model.train()
        losses[0].backward()
        with several.rows([1, 0, 0]):
            losses[1].backward()
        found.append([p.grad for member in several.members for p in member.parameters()])
    assert all(gradient.abs().max() > 0 for gradient in found[0])
    assert_close(found[1], found[0], atol=1e-6, rtol=1e-4)
