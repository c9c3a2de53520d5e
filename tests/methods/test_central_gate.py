"""The central gate: in closed form, what it divides, and what it folds to with one part alone."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    Architecture,
    BitFit,
    GatedLoRAPrefix,
    LinearAdapter,
    LoRA,
    Prefix,
    attach,
    count,
    describe,
    stored_parameters,
)
from peftnas.methods.canonical import canonical
from peftnas.methods.interchange import to_peft


def disturbed(model, **fields):
    method = GatedLoRAPrefix(**({"rank": 2, "length": 3, "layers": (0,)} | fields))
    attached = attach(model, Architecture(method))
    for number, parameter in enumerate(attached.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(number))
    (_, bundle), *_ = attached.placed
    return bundle


@pytest.mark.parametrize("mlp", [None, 5], ids=["flat", "mlp"])
def test_one_attention_in_closed_form(build_backbone, mlp):
    model = build_backbone("bert")
    core = model.encoder.layer[0].attention.self
    bundle = disturbed(model, mlp=mlp)
    prefix, query, value = bundle.parts
    hidden = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(3))
    got = core(hidden)[0]

    gate = (prefix.gate if mlp is None else prefix.gates["0"]).gate
    opened = torch.relu(hidden @ gate.weight.T + gate.bias).mean(dim=1).softmax(dim=-1)
    assert_close(opened.sum(dim=-1), torch.ones(2))
    raw = (prefix.keys, prefix.values) if mlp is None else prefix.folded(0)
    for row in range(2):
        x, (to_lora, to_prefix) = hidden[row], opened[row]
        weights = {
            name: getattr(core, name).weight + to_lora * lora.B @ lora.A
            for name, lora in (("query", query), ("value", value))
        }
        q, k, v = (
            x @ weights.get(name, getattr(core, name).weight).T + getattr(core, name).bias
            for name in ("query", "key", "value")
        )
        heads, width = raw[0].shape[1:]
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            keys = torch.cat([to_prefix * raw[0][:, head], k[:, part]])
            values = torch.cat([to_prefix * raw[1][:, head], v[:, part]])
            expected = torch.softmax(q[:, part] @ keys.T / width**0.5, dim=-1) @ values
            assert_close(got[row, :, part], expected, atol=1e-5, rtol=1e-5)


def test_padding_counts_only_where_asked_for(build_backbone):
    ids = torch.tensor([[3, 4, 5, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 0, 0]])
    for tokens, alike in (("unmasked", True), ("all", False)):
        model = build_backbone("bert")
        disturbed(model, gate_tokens=tokens)
        padded = model(ids, attention_mask=mask).last_hidden_state[:, :3]
        alone = model(ids[:, :3]).last_hidden_state
        assert torch.allclose(padded, alone, atol=1e-5) == alike


def test_count_is_that_of_both_and_of_the_gates(build_backbone):
    anatomy = describe(build_backbone("bert"))
    parts = (LoRA(rank=4), Prefix(length=7, mlp=6))
    both = Architecture(GatedLoRAPrefix(rank=4, length=7, mlp=6))
    gates = 2 * (16 + 1) * anatomy.n_layers
    assert count(both, anatomy) == count(Architecture(*parts), anatomy) + gates
    apart = stored_parameters(Architecture(*parts), anatomy)
    assert stored_parameters(both, anatomy) == apart + gates


def test_one_part_alone_has_no_gate(build_backbone):
    anatomy = describe(build_backbone("bert"))
    for method, alone in (
        (GatedLoRAPrefix(rank=0, length=4, mlp=3), Prefix(length=4, mlp=3)),
        (GatedLoRAPrefix(rank=3, length=0, layers=(1,)), LoRA(rank=3, layers=(1,))),
    ):
        assert canonical(Architecture(method), anatomy) == canonical(Architecture(alone), anatomy)
        assert count(Architecture(method), anatomy) == alone.count(anatomy)
    nothing = Architecture(GatedLoRAPrefix(rank=0, length=0))
    assert canonical(nothing, anatomy) == Architecture()


def test_its_prefix_gives_key_biases_an_effect(build_backbone):
    anatomy = describe(build_backbone("bert"))
    beside = canonical(Architecture(BitFit(), GatedLoRAPrefix()), anatomy)
    assert BitFit() in beside.methods
    assert BitFit() not in canonical(Architecture(BitFit(), LoRA()), anatomy).methods
    some = Architecture(BitFit(), GatedLoRAPrefix(layers=(0,)))
    keys = 16 * (anatomy.n_layers - 1)
    assert count(some, anatomy) == count(Architecture(BitFit()), anatomy) - keys + count(
        Architecture(GatedLoRAPrefix(layers=(0,))), anatomy
    )


def test_both_encoders_and_decoders_of_an_encoder_decoder(build_backbone):
    anatomy = describe(build_backbone("bart"))
    placed = tuple(GatedLoRAPrefix(rank=2, length=3, mlp=4).place(anatomy))
    assert [one.layers for one in placed] == [stack.layers for stack in anatomy.stacks]
    assert all("cross" not in lora.site for one in placed for lora in one.loras)


def test_peft_cannot_express_it(build_backbone):
    attached = attach(build_backbone("bert"), Architecture(GatedLoRAPrefix(length=3)))
    with pytest.raises(ValueError, match="gated_lora_prefix .* cannot go into HF peft"):
        to_peft(attached)


@pytest.mark.parametrize(
    ("dropout", "beside"),
    [(0.5, ()), (0.0, (LinearAdapter(insertion="before", targets=("query",), bottleneck=3),))],
    ids=["dropout", "changed input"],
)
def test_both_parts_take_one_value(build_backbone, batch, dropout, beside):
    """Whatever the linears read: the gate is that of what the attention reads."""
    model = build_backbone("bert")
    method = GatedLoRAPrefix(rank=2, length=3, layers=(1,))
    attached = attach(model, Architecture(method, *beside), dropout=dropout).train()
    for parameter in attached.parameters():
        torch.nn.init.normal_(parameter)
    bundle = next(module for place, module in attached.placed if place.kind == method.kind)
    taken = []
    for part in bundle.parts:
        part.gate.register_forward_hook(lambda *call: taken.append(call[2]))
    model(**batch)
    to_prefix, to_query, to_value = taken
    assert torch.equal(to_query, to_value)
    assert_close(to_query + to_prefix, torch.ones(3, 1, 1))
