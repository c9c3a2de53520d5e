"""Gates: one scalar in (0, 1) a sequence, computed from the input of the module they multiply."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from peftnas.spaces.fields import OneOf, setting

if TYPE_CHECKING:
    from peftnas.methods.call import Call

INIT_STD = 0.02  # of the weight, as in the adapters library and the UniPELT code

GateTokens = Literal["unmasked", "all", "causal"]


@dataclass(frozen=True)
class GateSpec:
    """One gate: ``G = mean over tokens of sigmoid(W x + b)``.

    One value for a whole sequence: in a causal backbone it depends on later tokens too, so such a
    decoder can classify texts but not generate them token by token. The causal form has a value
    for each token, the mean over the tokens up to it, and generates with a cache.

    Source: Mao et al., UniPELT, 2110.07577; the released code takes the sigmoid before the mean.

    Attributes:
        width: width d of the gate's input.
        outputs: how many scalars it gives; 2 for separate gates on prefix keys and values.
        tokens: "unmasked" takes the mean over real tokens, "all" over padding too, "causal" over
            the real tokens up to each one.
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
    """The gate that a :class:`GateSpec` describes.

    Attributes:
        call: state of the stack that it is in, once it is attached: a tuple of one, or of none.
    """

    def __init__(self, spec: GateSpec, generator: torch.Generator) -> None:
        super().__init__()
        self.spec = spec
        weight = torch.randn(spec.outputs, spec.width, generator=generator) * INIT_STD
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(spec.outputs))
        self.number = next(_NUMBERS)  # under which a cache keeps what it has read
        self.call: tuple[Call, ...] = ()

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """The gate's value for each sequence, or for each token of a causal one.

        Means are taken in float32: 16 bits count no further than some hundred tokens.

        Args:
            x: shape (B, T, width), what the gated module reads, before any dropout.
            tokens: bool mask (B, T) of real tokens; ``None`` when all are real.
        Returns:
            Shape (B, 1, outputs), causal (B, T, outputs), each in (0, 1).
        Raises:
            RuntimeError: in a step of a generation, if it is not causal, or has not read all
                tokens that the cache holds.
        """
        opened = self.each(x).float()
        if self.spec.tokens == "causal":
            return self._running_mean(opened, tokens).to(x.dtype)
        if any(call.past for call in self.call):
            raise RuntimeError(
                "a gate that takes its mean over a whole text cannot generate token by token, got "
                f"gate_tokens={self.spec.tokens!r}; take 'causal' where the method has it (LoRA, "
                "adapters), or attach it without a gate"
            )
        if tokens is None or self.spec.tokens == "all":
            return self.whole(opened.mean(dim=1, keepdim=True)).to(x.dtype)
        real = tokens.to(opened.dtype).unsqueeze(-1)
        # a row without any real token has no mean; 1 as the divisor leaves its gate at 0
        sums, counts = (part.sum(dim=1, keepdim=True) for part in (opened * real, real))
        return self.whole(sums / counts.clamp(min=1)).to(x.dtype)

    def each(self, x: Tensor) -> Tensor:
        """What a token gives, (B, T, outputs)."""
        return torch.sigmoid(nn.functional.linear(x, self.weight, self.bias))

    def whole(self, mean: Tensor) -> Tensor:
        """What the mean of a text gives, (B, 1, outputs)."""
        return mean

    def _running_mean(self, opened: Tensor, tokens: Tensor | None) -> Tensor:
        """The mean over all real tokens up to each one."""
        real = torch.ones_like(opened[..., :1])
        if tokens is not None:
            real = tokens.to(opened.dtype).unsqueeze(-1)
        sums = torch.cat([opened * real, real], dim=-1).cumsum(dim=1)
        for call in self.call:
            sums = call.running(self.number, sums)
        return sums[..., :-1] / sums[..., -1:].clamp(min=1)


_NUMBERS = itertools.count()


class CentralGate(Gate):
    """``softmax(mean over tokens of relu(W x + b))``: the parts of 1 of several modules.

    Its first reader works it out, the others take the same value, each once in a pass.

    Source: the released code of Mao et al. 2110.07577 (``add_central_gate``).

    Args:
        width: width d of its input.
        tokens: as of :class:`GateSpec`.
        readers: modules that take the value that the first one has worked out.
        generator: the weight is drawn with it.
    """

    def __init__(
        self, width: int, tokens: GateTokens, readers: int, generator: torch.Generator
    ) -> None:
        super().__init__(GateSpec(width, 2, tokens), generator)
        self.readers = readers
        self._value: Tensor | None = None
        self._left = 0

    def each(self, x: Tensor) -> Tensor:
        return torch.relu(nn.functional.linear(x, self.weight, self.bias))

    def whole(self, mean: Tensor) -> Tensor:
        return mean.softmax(dim=-1)

    def work_out(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """The value (B, 1, outputs) for x (B, T, width), kept for the other readers."""
        self._value, self._left = self(x, tokens), self.readers
        return self._value

    def take(self) -> Tensor:
        """The value that was worked out in this pass."""
        value, self._left = self._value, self._left - 1
        assert value is not None
        if not self._left:
            self._value = None
        return value


class SharedGate(nn.Module):
    """One output of a central gate.

    Args:
        gate: the gate.
        column: number of the output.
        first: whether this reader works the gate out, and its parameters are reached through it.
    """

    def __init__(self, gate: CentralGate, column: int, first: bool = False) -> None:
        super().__init__()
        self._gate = (gate,)  # in a tuple: not a submodule, which would own it again
        self.column = column
        self.first = first
        if first:
            self.gate = gate

    def forward(self, x: Tensor, tokens: Tensor | None) -> Tensor:
        """x (B, T, width) -> (B, 1, 1)."""
        [gate] = self._gate
        opened = gate.work_out(x, tokens) if self.first else gate.take()
        return opened[..., self.column : self.column + 1].to(x.dtype)


def gate_setting() -> Any:
    """The field ``gate`` of a method that can be gated; off by default."""
    return setting(
        OneOf(None, "unipelt"),
        default=None,
        help="None, or 'unipelt': each module times its own gate in (0, 1)",
    )


def gate_tokens_setting(*, causal: bool = True, always: bool = False) -> Any:
    """The field ``gate_tokens``: the tokens that a gate takes its mean over.

    Args:
        causal: whether each token may have a value of its own.
        always: for methods that are never without a gate.
    """
    values = ("unmasked", "all", "causal") if causal else ("unmasked", "all")
    each = "; causal: those up to each token, for decoders that generate" if causal else ""
    return setting(
        OneOf(*values),
        default="unmasked",
        when=None if always else {"gate": ("unipelt",)},
        help=f"mean over real tokens, or over all (padding too, as UniPELT's code){each}",
    )


def gate_spec(
    gate: str | None, width: int, tokens: GateTokens, outputs: int = 1
) -> GateSpec | None:
    """The gate that the fields of a method ask for; ``None`` when it has none."""
    return None if gate is None else GateSpec(width, outputs, tokens)
