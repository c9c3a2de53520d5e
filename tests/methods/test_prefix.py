"""Prefixes: shapes, counts, the MLP, gates; attention written out; parity with HF peft."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
)

from peftnas.methods.attach import attach
from peftnas.methods.canonical import canonical
from peftnas.methods.describe import describe
from peftnas.methods.prefix import Prefix
from peftnas.spaces.architecture import Architecture

IDS = torch.tensor([[5, 9, 3, 17, 4], [8, 2, 11, 6, 30]])
PADDING = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
SIZES = {"vocab_size": 40, "initializer_range": 0.3}


def bert(attention: str = "sdpa") -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        attn_implementation=attention,
        **SIZES,
    )
    return BertModel(config).eval()


def distilbert(attention: str = "sdpa") -> DistilBertModel:
    torch.manual_seed(0)
    config = DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=24, attn_implementation=attention, **SIZES
    )
    return DistilBertModel(config).eval()


def llama_config(attention: str = "sdpa") -> LlamaConfig:
    return LlamaConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=24,
        attn_implementation=attention,
        **SIZES,
    )


def llama(attention: str = "sdpa") -> LlamaModel:
    torch.manual_seed(0)
    return LlamaModel(llama_config(attention)).eval()


BACKBONES = {"bert": bert, "distilbert": distilbert, "llama": llama}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def perturb(attached) -> None:
    for parameter in attached.parameters():
        torch.nn.init.normal_(parameter, std=1.0, generator=generator(1))


@pytest.mark.parametrize("mask", [None, PADDING], ids=["nopad", "pad"])
@pytest.mark.parametrize("fields", [{}, {"mlp": 5, "gate": "unipelt"}], ids=["flat", "mlp"])
@pytest.mark.parametrize("name", BACKBONES)
def test_sdpa_equals_eager(name, fields, mask):
    outputs = []
    for attention in ("sdpa", "eager"):
        model = BACKBONES[name](attention)
        perturb(attach(model, Architecture(Prefix(length=3, **fields))))
        outputs.append(model(IDS, attention_mask=mask).last_hidden_state)
    real = torch.ones_like(IDS).bool() if mask is None else mask.bool()
    assert_close(outputs[0][real], outputs[1][real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", BACKBONES)
def test_padding_does_not_change_real_tokens(name, attention):
    model = BACKBONES[name](attention)
    perturb(attach(model, Architecture(Prefix(length=3, gate="unipelt"))))
    padded = model(IDS, attention_mask=PADDING).last_hidden_state
    alone = model(IDS[1:, :3]).last_hidden_state
    assert_close(padded[1:, :3], alone, atol=1e-5, rtol=1e-5)


def test_attention_written_out():
    """One layer of bert by hand: softmax over prefix and real keys together."""
    model = bert()
    attached = attach(model, Architecture(Prefix(length=3, layers=(0,))))
    perturb(attached)
    hidden = torch.randn(1, 4, 16, generator=generator(2))
    block = model.encoder.layer[0].attention.self
    got = block(hidden)[0]
    prefix = next(m for m in attached.modules() if hasattr(m, "keys") and hasattr(m, "values"))
    expected = torch.empty(1, 4, 16)
    for head in range(2):
        rows = slice(8 * head, 8 * head + 8)
        query, key, value = (
            linear(hidden)[0][:, rows] for linear in (block.query, block.key, block.value)
        )
        keys = torch.cat([prefix.keys[:, head], key])
        values = torch.cat([prefix.values[:, head], value])
        expected[0, :, rows] = torch.softmax(query @ keys.T / 8**0.5, dim=-1) @ values
    assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_equals_hf_peft_with_matched_positions():
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    ours, theirs = (LlamaForCausalLM(llama_config()).eval() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    length, layers, heads, width = 3, 2, 2, 4
    config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=length)
    wrapped = peft.get_peft_model(theirs, config).eval()
    table = wrapped.prompt_encoder["default"].embedding.weight
    attached = attach(ours, Architecture(Prefix(length=length)))
    assert sum(p.numel() for p in attached.parameters()) == table.numel()
    rows = table.detach().view(length, 2 * layers, heads, width)
    prefixes = [m for m in attached.modules() if hasattr(m, "placement")]
    with torch.no_grad():
        for prefix in prefixes:
            layer = prefix.placement.layers[0]
            prefix.keys.copy_(rows[:, 2 * layer])
            prefix.values.copy_(rows[:, 2 * layer + 1])
    shifted = length + torch.arange(IDS.shape[1]).expand_as(IDS)
    expected = wrapped(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    assert_close(ours(IDS, position_ids=shifted).logits, expected, atol=1e-5, rtol=1e-5)
    unshifted = ours(IDS).logits
    assert (unshifted - expected).abs().max() > 1e-3


def test_zero_prefix_is_not_the_identity():
    model = bert()
    plain = model(IDS).last_hidden_state
    attached = attach(model, Architecture(Prefix(length=3)))
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter.zero_()
    assert (model(IDS).last_hidden_state - plain).abs().max() > 1e-3


def test_mlp_written_out():
    (placement,) = Prefix(length=3, mlp=5, layers=(1,)).place(describe(llama()))
    module = placement.build(generator())
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=generator(4))
    inner = torch.tanh(module.embedding @ module.in_weight.T + module.in_bias)
    table = (inner @ module.out_weight.T + module.out_bias).view(3, 2, 2, 4)
    keys, values = module(1, torch.zeros(2, 4, 16), None)
    assert keys.shape == values.shape == (2, 2, 3, 4)
    assert_close(keys[1], table[:, 0].transpose(0, 1))
    assert_close(values[0], table[:, 1].transpose(0, 1))


def test_one_mlp_serves_each_layer_with_its_own_rows():
    (placement,) = Prefix(length=3, mlp=5).place(describe(bert()))
    module = placement.build(generator())
    keys = [module.folded(layer)[0] for layer in (0, 1)]
    assert (keys[0] - keys[1]).abs().max() > 1e-3
    with torch.no_grad():
        module.out_weight[:32].zero_()
        module.out_bias[:32].zero_()
    assert not module.folded(0)[0].any() and not module.folded(0)[1].any()
    assert_close(module.folded(1)[0], keys[1])


@pytest.mark.parametrize("mlp", [None, 5])
@pytest.mark.parametrize("outputs", [1, 2])
def test_gates_multiply_keys_and_values(mlp, outputs):
    fields = {"length": 3, "mlp": mlp, "layers": (1,)}
    gated = Prefix(gate="unipelt", gate_outputs=outputs, gate_tokens="all", **fields)
    (placement,) = gated.place(describe(bert()))
    module = placement.build(generator())
    gate = module.gate if mlp is None else module.gates["1"]
    torch.nn.init.normal_(gate.weight, generator=generator(5))
    hidden = torch.randn(2, 4, 16, generator=generator(6))
    opened = torch.sigmoid(hidden @ gate.weight.T + gate.bias).mean(dim=1)
    assert opened.shape == (2, outputs)
    if mlp is None:
        bare_keys, bare_values = module.keys, module.values
    else:
        bare_keys, bare_values = module.folded(1)
    keys, values = module(1, hidden, None)
    for row in range(2):
        assert_close(keys[row], opened[row, 0] * bare_keys.transpose(0, 1))
        assert_close(values[row], opened[row, -1] * bare_values.transpose(0, 1))


@pytest.mark.parametrize("gate", [None, "unipelt"])
@pytest.mark.parametrize("mlp", [None, 7])
@pytest.mark.parametrize("layers", [None, (1,)])
@pytest.mark.parametrize("name", BACKBONES)
def test_count_is_what_is_built(name, layers, mlp, gate):
    model = BACKBONES[name]()
    method = Prefix(length=3, mlp=mlp, layers=layers, gate=gate, gate_outputs=2)
    placements = list(method.place(describe(model)))
    built = sum(p.numel() for p in attach(model, Architecture(method)).parameters())
    n, columns = (2 if layers is None else 1), (8 if name == "llama" else 16)
    gates = n * 2 * 17 if gate else 0
    flat = 2 * n * 3 * columns
    with_mlp = 3 * 16 + 17 * 7 + 8 * 2 * n * columns
    assert method.count(describe(model)) == built == (flat if mlp is None else with_mlp) + gates
    assert sum(p.stored() for p in placements) == flat + gates


def test_sites():
    anatomy = describe(bert())
    assert [p.site for p in Prefix().place(anatomy)] == [
        "layers[0].attention.core",
        "layers[1].attention.core",
    ]
    (shared,) = Prefix(mlp=4, layers=(1, 0)).place(anatomy)
    assert (shared.site, shared.layers) == ("attention.core", (0, 1))


def test_absent():
    anatomy = describe(bert())
    for method in (Prefix(length=0), Prefix(layers=()), Prefix(mlp=4, layers=())):
        assert list(method.place(anatomy)) == []
    with pytest.raises(ValueError, match=r"layers in 0\.\.1"):
        list(Prefix(layers=(2,)).place(anatomy))


def test_outputs_of_no_gate_do_not_matter():
    anatomy = describe(bert())
    one, two = Prefix(), Prefix(gate_outputs=2)
    assert canonical(Architecture(two), anatomy) == Architecture(one)
    assert list(one.place(anatomy)) == list(two.place(anatomy))


def test_start():
    anatomy = describe(BertConfig(hidden_size=256, num_attention_heads=4))
    placement = next(iter(Prefix(length=16).place(anatomy)))
    before = torch.get_rng_state()
    one, two = placement.build(generator(3)), placement.build(generator(3))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.keys, two.keys) and not torch.equal(one.keys, one.values)
    assert 0.018 < one.keys.std() < 0.022 and 0.018 < one.values.std() < 0.022
