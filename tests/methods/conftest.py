"""Tiny random backbones of every model type that is described, and one padded batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from peftnas.methods.testing import tiny
from peftnas.methods.testing.tiny import (
    CONFIGS,
    GROUPED,
    SIZES,
    VOCABULARY,
    Inputs,
    build,
    output,
)

__all__ = ["CONFIGS", "GROUPED", "SIZES", "VOCABULARY", "Inputs", "build", "output"]

# one stack over words
TEXT = ("bert", "roberta", "electra", "distilbert", "llama", "mistral", "qwen2")


def assert_same(actual: torch.Tensor, expected: torch.Tensor, within: float = 1e-5) -> None:
    """No element differs by more than ``within`` times the largest absolute value expected."""
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    off = (actual - expected).abs().max().item() / expected.abs().max().item()
    assert off <= within, f"differs by {off:.1e} of the largest value, more than {within:.0e}"


def precise(model: PreTrainedModel) -> PreTrainedModel:
    """In float64 where float32 is itself not good to 1e-5: random gated t5 amplifies rounding."""
    return model.double() if getattr(model.config, "is_gated_act", False) else model


@pytest.fixture
def build_backbone() -> Callable[..., PreTrainedModel]:
    """``build_backbone(name, attention="sdpa", seed=0)``."""
    return build


@pytest.fixture(params=TEXT)
def backbone(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each of the tiny backbones that are one stack over words."""
    return build(request.param)


@pytest.fixture(params=list(CONFIGS))
def any_backbone(request: pytest.FixtureRequest) -> PreTrainedModel:
    """Each of the tiny backbones."""
    return build(request.param)


@pytest.fixture
def inputs_of(batch: dict[str, torch.Tensor]) -> Callable[[PreTrainedModel], Inputs]:
    """``inputs_of(model)``: what it reads, three examples; padded words where it takes a mask."""

    return lambda model: tiny.inputs_of(model, batch)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three sequences of 7, 5 and 3 tokens, padded on the right."""
    return tiny.words()


@pytest.fixture
def digest() -> Callable[[torch.nn.Module], str]:
    """Hash of every tensor of a module, names included."""

    def of(module: torch.nn.Module) -> str:
        text = hashlib.sha256()
        for name, value in module.state_dict().items():
            text.update(name.encode())
            text.update(value.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
        return text.hexdigest()

    return of


@pytest.fixture
def disturb() -> Callable[[torch.nn.Module], None]:
    """Moves every parameter of attached modules away from its start, which may be 0."""

    def move(module: torch.nn.Module) -> None:
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(0.2 * noise.to(parameter.dtype))

    return move
