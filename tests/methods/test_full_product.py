"""Every example of every method on every family that takes it: the whole life of it."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Architecture, CrossAttentionTuning, attach, count, describe
from peftnas.methods.testing.tiny import CONFIGS, build, inputs_of, output
from tests.methods.test_conformance import EXAMPLES, NAMES
from tests.methods.test_random_compositions import refused, whole_life

METHODS = [example.method for example in EXAMPLES if example.method.kind != "full"]
IDS = [name for name in NAMES if not name.endswith("-full")]

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("method", [*METHODS, CrossAttentionTuning()], ids=[*IDS, "cross"])
class TestFullProduct:
    @pytest.fixture
    def architecture(self, name, method) -> Architecture:
        architecture = Architecture(method)
        try:
            count(architecture, describe(CONFIGS[name]()))
        except ValueError as error:
            refused(error)
            pytest.skip(f"checked: refused ({error})")
        return architecture

    def test_whole_life(self, name, architecture):
        whole_life(build(name).requires_grad_(False), architecture)

    def test_order_of_the_batch(self, name, architecture, disturb):
        model = build(name).requires_grad_(False)
        inputs = inputs_of(model)
        disturb(attach(model, architecture))
        turned = {key: value.flip(0) for key, value in inputs.items()}
        expected = output(model, inputs)
        assert_close(output(model, turned).flip(0), expected, atol=1e-4, rtol=1e-4)

    def test_16_bits(self, name, architecture):
        model = build(name).to(torch.bfloat16)
        inputs = {
            key: value.bfloat16() if value.is_floating_point() else value
            for key, value in inputs_of(model).items()
        }
        attached = attach(model, architecture)
        output(model, inputs).float().pow(2).sum().backward()
        assert any(parameter.grad is not None for parameter in attached.parameters())
