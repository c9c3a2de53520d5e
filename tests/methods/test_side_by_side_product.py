"""The forward of K architectures over one batch is that of K separate forwards."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Architecture, CrossAttentionTuning, attach, attach_side_by_side
from peftnas.methods.base import PromptVectors, TrainsBackbone
from peftnas.methods.testing.tiny import CONFIGS, build, inputs_of, output
from tests.methods.test_conformance import EXAMPLES
from tests.methods.test_random_compositions import refused

QUICK = ("bert", "llama", "gemma", "opt", "t5")
METHODS = [*(example.method for example in EXAMPLES), CrossAttentionTuning()]
AT_ONCE = 4


def nudge(attached, number):
    """Every parameter away from its start, otherwise for each architecture."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in attached.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.1 * noise)


def separate(model, architecture, number, inputs, rows):
    """Output of these rows with one architecture, and its gradients."""
    attached = attach(model, architecture)
    nudge(attached, number)
    out = output(model, {name: value[rows] for name, value in inputs.items()})
    if out.requires_grad:
        out.pow(2).sum().backward()
    gradients = [parameter.grad for parameter in attached.parameters()]
    attached.detach()
    return out.detach(), gradients


def members_of(model):
    """Every example that can stand side by side on this backbone, each as an architecture."""
    members = []
    for method in METHODS:
        architecture = Architecture(method)
        try:
            attached = attach(model, architecture)
        except ValueError as error:
            refused(error)
            continue
        modules = [module for _, module in attached.placed]
        attached.detach()
        try:
            attach_side_by_side(model, [architecture]).detach()
            members.append(architecture)
        except ValueError as error:
            assert "leave that out, or attach that one alone" in str(error)
            unfit = any(isinstance(module, PromptVectors | TrainsBackbone) for module in modules)
            assert unfit or "for all rows of a batch at once" in str(error)
    return members


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS],
)
def test_every_method_next_to_others(name):
    model = build(name).double().requires_grad_(False)
    inputs = {key: torch.cat([value, value.flip(0)]) for key, value in inputs_of(model).items()}
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    members = members_of(model)
    assert len(members) >= 2
    for first in range(0, len(members), AT_ONCE):
        some = members[first : first + AT_ONCE]
        numbers = [(row * 5 + 2) % len(some) for row in range(6)]
        several = attach_side_by_side(model, some)
        for number, member in enumerate(several.members):
            nudge(member, number)
        with several.rows(numbers):
            out = output(model, inputs)
        if out.requires_grad:
            out.pow(2).sum().backward()
        several.detach()
        for number, member in enumerate(several.members):
            rows = [row for row, owner in enumerate(numbers) if owner == number]
            if not rows:
                assert all(parameter.grad is None for parameter in member.parameters())
                continue
            expected, gradients = separate(model, some[number], number, inputs, rows)
            assert_close(out[rows].detach(), expected, atol=1e-6, rtol=1e-6)
            for parameter, gradient in zip(member.parameters(), gradients, strict=True):
                found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradient = torch.zeros_like(parameter) if gradient is None else gradient
                assert_close(found, gradient, atol=1e-6, rtol=1e-4)
