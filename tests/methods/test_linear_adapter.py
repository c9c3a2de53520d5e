"""Adapters around a linear, and adapters of several widths, in closed form."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import (
    IA3,
    Adapter,
    Architecture,
    LinearAdapter,
    LoRA,
    attach,
    count,
    describe,
)
from peftnas.spaces.keys import train_key

SITE = "layers[1].ffn.down"


@pytest.fixture
def model(build_backbone):
    return build_backbone("bert")


def inside(module, z):
    for layer in module.down:
        z = torch.tanh(layer(z))
    return module.up(z)


@pytest.mark.parametrize("insertion", ["parallel", "after", "before"])
def test_equations(model, disturb, insertion):
    method = LinearAdapter(bottleneck=(5, 3), insertion=insertion, bias=True, targets=("down",))
    attached = attach(model, Architecture(method))
    disturb(attached)
    linear = model.encoder.layer[1].output.dense
    adapter = attached.at(SITE, "linear_adapter")
    adapter = getattr(adapter, "inside", adapter)
    x = torch.randn(2, 3, 24)
    plain = torch.nn.functional.linear
    y = plain(x, linear.weight, linear.bias)
    expected = {
        "parallel": lambda: y + inside(adapter, x),
        "after": lambda: y + inside(adapter, y),
        "before": lambda: plain(x + inside(adapter, x), linear.weight, linear.bias),
    }
    assert_close(linear(x), expected[insertion]())


def test_what_reads_the_product_keeps_lora_from_merging(model, batch, disturb):
    """Behind the linear an adapter reads W x + b alone, so W must stay."""
    methods = LoRA(rank=2, targets=("down",)), LinearAdapter(insertion="after", bottleneck=3)
    attached = attach(model, Architecture(*methods, IA3(targets=("key",))))
    disturb(attached)
    expected = model(**batch).last_hidden_state
    report = attached.merge()
    assert {line.partition(": ")[2] for line in report.merged} == {"ia3"}
    assert_close(model(**batch).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


def test_counts(model):
    anatomy = describe(model)
    llm = Architecture(LinearAdapter(bottleneck=5, targets=("down", "value")))
    assert count(llm, anatomy) == 3 * (5 * (24 + 16) + 5 * (16 + 16))
    wide = Architecture(Adapter(bottleneck=(6, 4), norm="in", bias=False))
    assert count(wide, anatomy) == 3 * (16 * 6 + 6 * 4 + 4 * 16 + 2 * 16)


def key_of(method, anatomy):
    return train_key(anatomy.place(anatomy.canonical(Architecture(method))))


@pytest.mark.parametrize("make", [Adapter, LinearAdapter])
def test_one_width_alone_is_a_number(model, make):
    anatomy = describe(model)
    assert key_of(make(bottleneck=4), anatomy) == key_of(make(bottleneck=(4,)), anatomy)
    assert key_of(make(bottleneck=4), anatomy) != key_of(make(bottleneck=(4, 4)), anatomy)


def test_adapter_of_two_widths_with_norm(model, disturb):
    attached = attach(
        model, Architecture(Adapter(bottleneck=(6, 4), norm="out", activation="relu", scale=2.0))
    )
    disturb(attached)
    adapter = attached.at("layers[0].ffn", "adapter")
    z = torch.randn(2, 3, 16)
    hidden = torch.relu(adapter.inner[0](torch.relu(adapter.down(z))))
    assert_close(adapter(z, None), 2.0 * adapter.norm(adapter.up(hidden)))


def test_written_and_read_again():
    for bottleneck in (4, (6, 4)):
        architecture = Architecture(Adapter(bottleneck=bottleneck))
        assert Architecture.from_json(architecture.to_json()) == architecture
