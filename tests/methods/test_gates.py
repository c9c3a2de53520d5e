"""Gates: sigmoid first, then the mean; over real tokens or over all."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.testing import assert_close

from peftnas.methods import Adapter, Architecture, LoRA, Prefix, attach
from peftnas.methods.gates import GateSpec, gate_spec
from peftnas.methods.testing.tiny import CONFIGS


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _gate(tokens: str = "unmasked", outputs: int = 1, width: int = 6):
    gate = GateSpec(width, outputs, tokens).build(_generator())
    torch.nn.init.normal_(gate.weight, std=2.0, generator=_generator(1))
    torch.nn.init.normal_(gate.bias, generator=_generator(2))
    return gate


@pytest.mark.parametrize("outputs", [1, 2])
def test_three_tokens_by_hand(outputs):
    gate = _gate(outputs=outputs)
    x = torch.randn(2, 3, 6, generator=_generator(3))
    weight, bias = gate.weight.detach(), gate.bias.detach()
    expected = torch.zeros(2, outputs)
    for b in range(2):
        for o in range(outputs):
            scores = [float(weight[o] @ x[b, t] + bias[o]) for t in range(3)]
            expected[b, o] = sum(1 / (1 + 2.718281828459045**-score) for score in scores) / 3
    assert_close(gate(x, None), expected[:, None])


def test_sigmoid_comes_before_the_mean():
    gate = _gate()
    x = 3 * torch.randn(2, 5, 6, generator=_generator(3))
    mean_first = torch.sigmoid(x.mean(dim=1) @ gate.weight.T + gate.bias)
    assert (gate(x, None)[:, 0] - mean_first).abs().max() > 0.01


def test_unmasked_mean_does_not_see_padding():
    gate = _gate("unmasked")
    x = torch.randn(2, 3, 6, generator=_generator(3))
    padded = torch.cat([x, 10 * torch.randn(2, 4, 6, generator=_generator(4))], dim=1)
    tokens = torch.tensor([[True] * 3 + [False] * 4] * 2)
    assert_close(gate(padded, tokens), gate(x, None))


def test_all_takes_padding_into_the_mean():
    gate = _gate("all")
    x = torch.randn(2, 5, 6, generator=_generator(3))
    tokens = torch.tensor([[True, True, False, False, False], [True] * 5])
    assert_close(gate(x, tokens), gate(x, None))
    unmasked = _gate("unmasked")
    assert (unmasked(x, tokens)[0] - gate(x, tokens)[0]).abs() > 1e-3


def test_row_without_a_real_token_stays_finite():
    x = torch.randn(1, 3, 6, generator=_generator(3))
    assert torch.isfinite(_gate()(x, torch.zeros(1, 3, dtype=torch.bool))).all()


@pytest.mark.parametrize("outputs", [1, 2])
def test_count_is_what_is_built(outputs):
    spec = GateSpec(32, outputs)
    gate = spec.build(_generator())
    assert spec.count() == sum(p.numel() for p in gate.parameters()) == outputs * 33


def test_start_is_near_one_half_and_depends_on_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    gate = GateSpec(4096).build(_generator())
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(gate.weight, GateSpec(4096).build(_generator()).weight)
    assert 0.018 < gate.weight.std() < 0.022
    assert not gate.bias.any()


def test_bfloat16_gives_bfloat16():
    gate = _gate().to(torch.bfloat16)
    x = torch.randn(2, 3, 6, generator=_generator(3)).to(torch.bfloat16)
    tokens = torch.tensor([[True, True, False]] * 2)
    assert gate(x, tokens).dtype == torch.bfloat16


def test_no_gate_when_not_asked_for():
    assert gate_spec(None, 32, "all") is None
    assert gate_spec("unipelt", 32, "all", 2) == GateSpec(32, 2, "all")


class TestCausal:
    def test_each_token_has_the_mean_up_to_it(self):
        gate, plain = _gate("causal"), _gate("unmasked")
        x = torch.randn(2, 5, 6, generator=_generator(3))
        tokens = torch.tensor([[True] * 5, [False, False, True, True, True]])
        opened = gate(x, tokens)
        assert opened.shape == (2, 5, 1)
        for t in range(5):
            assert_close(opened[:, t : t + 1], plain(x[:, : t + 1], tokens[:, : t + 1]))

    def test_later_tokens_change_nothing_before(self, build_backbone, batch, disturb):
        model = build_backbone("llama")
        gated = {"gate": "unipelt", "gate_tokens": "causal"}
        disturb(attach(model, Architecture(LoRA(rank=2, **gated), Adapter(bottleneck=3, **gated))))
        other = batch["input_ids"].clone()
        other[:, -1] = 9
        mask = torch.ones_like(other)
        one, two = (
            model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
            for ids in (batch["input_ids"], other)
        )
        assert_close(one, two)

    @pytest.mark.parametrize("beams", [1, 3])
    @pytest.mark.parametrize(
        ("name", "family"),
        [("llama", "LlamaForCausalLM"), ("bart", "BartForConditionalGeneration")],
    )
    def test_generates_with_a_cache_as_without(self, name, family, beams, batch, disturb):
        torch.manual_seed(0)
        model = getattr(transformers, family)(CONFIGS[name]()).eval()
        gated = {"gate": "unipelt", "gate_tokens": "causal"}
        methods = LoRA(rank=2, **gated), Adapter(bottleneck=3, site="both", **gated)
        attached = attach(model, Architecture(*methods))
        disturb(attached)
        for _, module in attached.placed:
            module.gate.weight.data.mul_(20)
        settings = {"max_new_tokens": 6, "num_beams": beams, "do_sample": False}
        inputs = {key: value.flip(1) for key, value in batch.items()}  # padded on the left
        settings |= {"pad_token_id": 0, "eos_token_id": None}
        without = model.generate(**inputs, **settings, use_cache=False)
        assert torch.equal(model.generate(**inputs, **settings), without)

    def test_no_prefix_has_one(self):
        with pytest.raises(ValueError, match="gate_tokens must be"):
            Prefix(gate="unipelt", gate_tokens="causal")


def test_a_mean_over_whole_texts_cannot_generate_with_a_cache(build_backbone, batch):
    model = transformers.LlamaForCausalLM(CONFIGS["llama"]()).eval()
    attach(model, Architecture(LoRA(rank=2, gate="unipelt")))
    with pytest.raises(RuntimeError, match="take 'causal'"):
        model.generate(**batch, max_new_tokens=2, pad_token_id=0, eos_token_id=None)


def test_gates_read_what_no_dropout_has_changed(build_backbone, batch):
    model = build_backbone("bert")
    gated = {"gate": "unipelt", "layers": (0,)}
    methods = LoRA(rank=2, targets=("query",), **gated), Adapter(bottleneck=2, **gated)
    found = []
    for dropout in (0.0, 0.5):
        attached = attach(model, Architecture(*methods), dropout=dropout).train()
        opened = []
        for _, module in attached.placed:
            module.gate.register_forward_hook(lambda *call, kept=opened: kept.append(call[2]))
        model(**batch)
        found.append(opened)
        attached.detach()
    for plain, dropped in zip(*found, strict=True):
        assert_close(plain, dropped)
