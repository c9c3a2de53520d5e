"""Presets: counts from the papers' formulas on full-size configs, and that they train."""

from __future__ import annotations

import inspect
import re

import pytest
import torch
from transformers import BertConfig, LlamaConfig, ViTConfig

from peftnas.methods import Architecture, attach, count, describe, presets

D, L, F = 768, 12, 3072
CALLS = {
    "adapter_drop": {"dropped": 1},
    "autopeft": {"serial": 4, "parallel": 4, "prefix": 3},
    "noah": {
        "adapter": 5,
        "adapter_layers": 3,
        "lora": 5,
        "lora_layers": 2,
        "prompt": 5,
        "prompt_layers": 3,
    },
}
SMALL = {"bottleneck": 4, "length": 3, "mlp": 5, "rank": 2}


def preset_functions():
    """Every public function of the module, by name."""
    return {
        name: function
        for name, function in inspect.getmembers(presets, inspect.isfunction)
        if function.__module__ == presets.__name__ and not name.startswith("_")
    }


def make(name, anatomy, **sizes) -> Architecture:
    function = preset_functions()[name]
    known = inspect.signature(function).parameters
    given = {key: value for key, value in sizes.items() if key in known} | CALLS.get(name, {})
    return function(anatomy, **given) if "anatomy" in known else function(**given)


@pytest.mark.parametrize("name", preset_functions())
def test_says_its_source_and_is_written_and_read_again(name):
    assert re.search(r"\d{4}\.\d{5}", preset_functions()[name].__doc__)
    architecture = make(name, describe(BertConfig()))
    assert Architecture.from_json(architecture.to_json()) == architecture


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (presets.houlsby(64), L * 2 * (2 * D * 64 + 64 + D)),
        (presets.pfeiffer(48), L * (2 * D * 48 + 48 + D)),
        (presets.ptuning_v2(20), 2 * L * 20 * D),
        (presets.mam(16, None, 16, 2.0), 2 * L * 16 * D + L * (2 * D * 16 + 16 + D)),
        (
            presets.unipelt_apl(10, 512, 48, 8),
            L * (2 * D * 48 + 48 + D + D + 1)
            + L * 2 * (2 * D * 8 + D + 1)
            + L * (D + 1)
            + 10 * D
            + (D * 512 + 512)
            + (512 * 2 * L * D + 2 * L * D),
        ),
        (
            presets.unipelt_central(10, 512, 48, 8),
            L * (2 * D * 48 + 48 + D + D + 1)
            + L * 2 * 2 * D * 8
            + L * 2 * (D + 1)
            + 10 * D
            + (D * 512 + 512)
            + (512 * 2 * L * D + 2 * L * D),
        ),
        (
            presets.autopeft(6, 12, 3, tuple(range(5))),
            5 * (2 * D * 6 + 6 + D + 2 * D * 12 + 12 + D + 2 * 3 * D),
        ),
        (presets.compacter_plus_plus(24, 4), 4**3 + L * (2 * (D + 24) + 24 + D)),
        (presets.bitfit_subset(), L * (D + F)),
    ],
)
def test_counts_on_bert_base(architecture, expected):
    assert count(architecture, describe(BertConfig())) == expected


def test_counts_of_what_needs_an_anatomy():
    bert, llama, vit = (describe(config()) for config in (BertConfig, LlamaConfig, ViTConfig))
    assert count(presets.adapter_drop(bert, 5, 48), bert) == 7 * (2 * D * 48 + 48 + D)
    point = make("noah", vit)
    expected = 3 * (2 * D * 5 + 5 + D) + 2 * 2 * (2 * D * 5) + 3 * 5 * D
    assert count(point, vit) == expected
    shape = llama.layers[0]
    series = count(presets.llm_adapters_series(256), llama)
    assert series == llama.n_layers * 2 * 256 * shape.width
    # groups of 2, 4, 4, 2 layers: A in 10, P in 10, B in 6, L in 4
    adapter, prefix, lora = 2 * D * 48 + 48 + D, 2 * 10 * D, 2 * 8 * 2 * D
    biases = 5 * D + F  # query, key, value, output, down; up
    assert count(presets.s4(bert), bert) == 10 * adapter + 10 * prefix + 6 * biases + 4 * lora


def test_wrong_sizes_are_refused():
    bert = describe(BertConfig())
    with pytest.raises(ValueError, match="from 0 to the 12 layers"):
        presets.adapter_drop(bert, 13)
    with pytest.raises(ValueError, match="four groups"):
        presets.s4(bert, groups=("A", "X"))
    with pytest.raises(ValueError, match="at least 4 layers"):
        presets.s4(describe(BertConfig(num_hidden_layers=3)))


@pytest.mark.parametrize("name", [name for name in preset_functions() if name != "s4"])
def test_trains_on_a_tiny_backbone(name, build_backbone, inputs_of):
    model = build_backbone("vit" if name == "noah" else "bert")
    attached = attach(model, make(name, describe(model), **SMALL))
    before = model(**inputs_of(model)).last_hidden_state
    before.pow(2).sum().backward()
    assert all(parameter.grad is not None for parameter in attached.parameters())
    torch.optim.SGD(attached.parameters(), lr=0.1).step()
    assert not torch.equal(model(**inputs_of(model)).last_hidden_state, before)


def test_presets_list_themselves():
    assert dir(presets) == sorted(presets.__all__)
    for name in presets.__all__:
        assert re.search(r"\d{4}\.\d{5}", getattr(presets, name).__doc__)
