"""The inside of adapters: linears of several widths with a nonlinearity after all but the last."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
    "identity": lambda x: x,
}


def widths_of(bottleneck: int | tuple[int, ...]) -> tuple[int, ...]:
    """The inner widths, one after another; none for a bottleneck of 0."""
    if isinstance(bottleneck, tuple):
        return bottleneck
    return (bottleneck,) if bottleneck else ()


def bottleneck_count(n_in: int, inner: Sequence[int], n_out: int, bias: bool) -> int:
    """Parameters of the linears n_in -> inner[0] -> ... -> n_out."""
    widths = (n_in, *inner, n_out)
    weights = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    return weights + (sum(widths[1:]) if bias else 0)


def linear(weight: Tensor, bias: bool = True) -> nn.Linear:
    """A Linear layer with this weight (n_out, n_in) and bias 0; draws no random numbers."""
    n_out, n_in = weight.shape
    layer = nn.Linear(n_in, n_out, bias=bias, device="meta")
    layer.weight = nn.Parameter(weight)
    if bias:
        layer.bias = nn.Parameter(torch.zeros(n_out))
    return layer


def random_linear(n_in: int, n_out: int, bias: bool, generator: torch.Generator) -> nn.Linear:
    """One with a Kaiming-uniform (a = sqrt 5) weight."""
    weight = torch.empty(n_out, n_in)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    return linear(weight, bias)


def zero_linear(n_in: int, n_out: int, bias: bool) -> nn.Linear:
    """One whose weight is 0."""
    return linear(torch.zeros(n_out, n_in), bias)
