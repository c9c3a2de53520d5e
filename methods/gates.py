"""Gates: one scalar in (0, 1) a sequence, computed from the input of the module they multiply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peftnas.spaces.fields import OneOf, setting

INIT_STD = 0.02  # of the weight, as in the adapters library and the UniPELT code

GateTokens = Literal["unmasked", "all"]


@dataclass(frozen=True)
class GateSpec:
    """One gate: ``G = mean over tokens of sigmoid(W x + b)``.

    One value for a whole sequence: in a causal backbone it depends on later tokens too, so a gated
    decoder can classify texts but not generate them token by token.

    Source: Mao et al., UniPELT, 2110.07577; the released code takes the sigmoid before the mean.

    Attributes:
        width: width d of the gate's input.
        outputs: how many scalars it gives; 2 for separate gates on prefix keys and values.
        tokens: "unmasked" takes the mean over real tokens, "all" over padding too.
    """

    width: int
    outputs: int = 1
    tokens: GateTokens = "unmasked"

    def count(self) -> int:
        """Trainable parameters: width + 1 for each output."""
        return self.outputs * (self.width + 1)

    def build(self, generator: torch.Generator) -> Gate:
        """The gate, its weight drawn from N(0, 0.02) with ``generator``, its bias 0."""
        return Gate(self, generator)


class Gate(nn.Module):
    """The gate that a :class:`GateSpec` describes."""

    def __init__(self, spec: GateSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        weight = torch.randn(spec.outputs, spec.width, generator=generator) * INIT_STD
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(spec.outputs))

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """The gate's value for each sequence.

        Args:
            x: shape (B, T, width), what the gated module reads.
            tokens: bool mask (B, T) of real tokens; ``None`` when all are real.
        Returns:
            Shape (B, outputs), each in (0, 1).
        """
        opened = torch.sigmoid(nn.functional.linear(x, self.weight, self.bias))
        if tokens is None or self.spec.tokens == "all":
            return opened.mean(dim=1)
        real = tokens.to(opened.dtype).unsqueeze(-1)
        # a row without any real token has no mean; 1 as the divisor leaves its gate at 0
        return (opened * real).sum(dim=1) / real.sum(dim=1).clamp(min=1.0)


def gate_setting() -> Any:
    """The field ``gate`` of a method that can be gated; off by default."""
    return setting(
        OneOf(None, "unipelt"),
        default=None,
        help="None, or 'unipelt': each module times its own gate in (0, 1)",
    )


def gate_tokens_setting() -> Any:
    """The field ``gate_tokens``: the tokens that a gate takes its mean over."""
    return setting(
        OneOf("unmasked", "all"),
        default="unmasked",
        when={"gate": ("unipelt",)},
        help="mean of the gate over real tokens, or over all (padding too, as UniPELT's code)",
    )


def gate_spec(
    gate: str | None, width: int, tokens: GateTokens, outputs: int = 1
) -> GateSpec | None:
    """The gate that the fields of a method ask for; ``None`` when it has none."""
    return None if gate is None else GateSpec(width, outputs, tokens)
