"""The stored reference vectors of bert, llama and vit, through the public ``attach``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, XGLMConfig, XGLMModel

from peftnas.methods import describe
from peftnas.methods.testing import load_reference
from peftnas.methods.testing.tensors import slots
from peftnas.methods.testing.translate import translate
from peftnas.spaces.structure import ByLayer

FOLDER = Path(__file__).parent / "vectors"
INDEX = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
BERT = describe(AutoConfig.from_pretrained(FOLDER / "backbones" / "bert"))
CASES = INDEX["cases"]
RUNS = [(case, variant) for case in CASES for variant in case["variants"]]


@pytest.mark.parametrize(
    ("case", "variant"), RUNS, ids=[f"{case['name']}-{variant}" for case, variant in RUNS]
)
def test_outputs_and_gradients_are_those_of_the_library(case, variant):
    reference = load_reference(FOLDER, case["name"], variant)
    stored, tolerance = reference.tensors, case["tolerance"][variant]
    outputs = reference.run()
    assert set(outputs) == set(case["outputs"])
    loss = torch.zeros(())
    for name, output in outputs.items():
        expected = stored[f"out/{name}"]
        assert output.shape == expected.shape
        seen = torch.ones(expected.shape[:2], dtype=torch.bool)
        if (real := stored.get("attention_mask")) is not None:
            # prompt positions are real; padding is right of all others
            seen[:, expected.shape[1] - real.shape[1] :] = real.bool()
        difference = (output - expected)[seen].abs().max()
        assert difference <= tolerance["output_atol"], name
        loss = loss + (output * stored[f"loss_weight/{name}"]).sum()
    assert torch.allclose(loss, stored["loss"][0], rtol=1e-4, atol=1e-3)
    gradients = reference.gradients(loss)
    assert set(gradients) == {name[5:] for name in stored if name.startswith("grad/")}
    for name, gradient in gradients.items():
        difference = (gradient - stored[f"grad/{name}"]).abs().max()
        assert difference <= tolerance["grad_atol"], name


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_count_is_that_of_the_library(case):
    attached = load_reference(FOLDER, case["name"], "nopad").attached
    assert sum(parameter.numel() for parameter in attached.parameters()) == case["parameters"]


def test_functions_that_are_not_ours_are_refused_with_the_reason():
    for name, change, reason in (
        ("bert/compacter", {"phm_rank": 2}, "Compacter"),
        ("bert/loreft", {"subtract_projection": False}, "direft with orthonormal rows"),
        ("bert/loreft", {"architecture": "invertible"}, "'invertible'"),
    ):
        config = next(c for c in CASES if c["name"] == name)["library_config"]
        with pytest.raises(NotImplementedError, match=reason):
            translate(config | change, BERT, ())


def test_unknown_family_is_refused_with_the_reason(tmp_path):
    config = XGLMConfig(
        d_model=32, num_layers=1, attention_heads=4, ffn_dim=64, vocab_size=64, pad_token_id=0
    )
    XGLMModel(config).save_pretrained(tmp_path / "backbones" / "other")
    (tmp_path / "cases").symlink_to(FOLDER / "cases")
    index = {
        # an encoder-decoder may give its sizes by other names
        "backbones": {"bert": {"folder": "backbones/other", "sizes": {}, "attention": "eager"}},
        "cases": [case for case in CASES if case["name"] == "bert/lora_qv"],
    }
    (tmp_path / "index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(NotImplementedError, match="'xglm'"):
        load_reference(tmp_path, "bert/lora_qv", "nopad")


def test_unknown_case_and_variant_name_what_there_is():
    with pytest.raises(ValueError, match="bert/lora_qv"):
        load_reference(FOLDER, "bert/none", "nopad")
    with pytest.raises(ValueError, match="nopad"):
        load_reference(FOLDER, "bert/lora_qv", "left")


def test_factors_by_layer_become_bottlenecks_by_layer():
    config = next(c for c in CASES if c["name"] == "bert/seq_bn_layers")["library_config"]
    (adapter,) = translate(config, BERT, ()).methods
    assert adapter.bottleneck == ByLayer({0: 4, 2: 6})
    assert adapter.layers == (0, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ln_before": True}, "norm inside"),
        ({"non_linearity": "mish"}, "mish"),
        ({"scaling": "channel"}, "channel"),
        ({"mh_adapter": True}, "Pfeiffer form at the attention"),
        ({"residual_before_ln": False}, "residual"),
    ],
)
def test_forms_of_adapters_that_are_not_ours(change, reason):
    config = next(c for c in CASES if c["name"] == "bert/seq_bn")["library_config"]
    with pytest.raises(NotImplementedError, match=reason):
        translate(config | change, BERT, ())


def test_tensors_without_a_place_are_refused_by_name():
    reference = load_reference(FOLDER, "bert/lora_qv", "nopad")
    stored = {slot.name: slot.parameter.detach() for slot in reference._slots}
    stored["layer.0.o.lora_A"] = torch.zeros(4, 32)
    with pytest.raises(NotImplementedError, match=r"layer\.0\.o\.lora_A"):
        slots(reference.attached, stored)
