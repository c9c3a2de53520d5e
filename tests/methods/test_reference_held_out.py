"""The loader of reference vectors on backbones that the stored ones lack: roberta, gpt2, t5."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods.testing import load_reference
from tests.methods.conftest import build
from tests.methods.test_reference import CASES
from tests.methods.written_cases import BLOCKS, METHODS, write_case

STORED = {case["name"]: case for case in CASES}


def written(tmp_path, inputs_of, backbone, method, **fields):
    like = STORED[f"bert/{METHODS[method][0]}"]
    inputs = inputs_of(build(backbone))
    write_case(tmp_path, backbone, method, inputs, like, **fields)
    return load_reference(tmp_path, f"{backbone}/{method}", "pad")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backbone", BLOCKS)
def test_outputs_and_gradients_are_those_of_plain_hooks(backbone, method, inputs_of, tmp_path):
    reference = written(tmp_path, inputs_of, backbone, method, library_patched=True)
    stored = reference.tensors
    assert sum(p.numel() for p in reference.attached.parameters()) == reference.case["parameters"]
    loss = torch.zeros(())
    for name, output in reference.run().items():
        weight = stored[f"loss_weight/{name}"]
        seen = (weight != 0).any(dim=-1)
        assert_close(output[seen], stored[f"out/{name}"][seen], atol=2e-5, rtol=2e-5)
        loss = loss + (output * weight).sum()
    assert_close(loss[None], stored["loss"], atol=1e-3, rtol=1e-4)
    gradients = reference.gradients(loss)
    assert set(gradients) == {name[5:] for name in stored if name.startswith("grad/")}
    for name, gradient in gradients.items():
        expected = stored[f"grad/{name}"]
        # of the largest gradients of a case some entries are near 0
        assert_close(gradient, expected, atol=1e-4 * (1 + float(expected.abs().max())), rtol=1e-4)
    # that nothing is compared with nothing
    assert all(float(value.abs().max()) > 0 for name, value in gradients.items())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fields", [{}, {"library_patched": False}], ids=["unsaid", "unpatched"])
def test_of_relative_positions_only_an_unpatched_prefix_is_declined(
    method, fields, inputs_of, tmp_path
):
    if method.startswith("prefix"):
        with pytest.raises(NotImplementedError, match="shifts the relative positions"):
            written(tmp_path, inputs_of, "t5", method, **fields)
        return
    assert written(tmp_path, inputs_of, "t5", method, **fields).run()
