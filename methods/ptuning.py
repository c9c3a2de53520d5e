"""P-tuning (v1): prompts that a small network computes while they are trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from peftnas.methods.base import Placement, PromptVectors
from peftnas.methods.bottleneck import random_linear
from peftnas.methods.folding import Folds
from peftnas.methods.prompt import EnteringPrompt, PromptPlacement
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import AnyOf, OneOf, Whole, held, setting

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Encoder = Literal["mlp", "lstm"]


@dataclass(frozen=True)
class PTuningPlacement(Placement):
    """The prompt of a backbone and the network that computes it.

    Attributes:
        prompt: what it folds into.
        encoder: "mlp", or "lstm" followed by an MLP.
        hidden: m, width inside.
        recurrent_layers: of the LSTM.
        stack: number of the stack that the prompt enters.
    """

    kind: ClassVar[str] = "ptuning"
    prompt: PromptPlacement
    encoder: Encoder
    hidden: int
    recurrent_layers: int
    stack: int

    def count(self) -> int:
        """l*d + 3 linears; or l*d + a bidirectional LSTM + 2 linears."""
        d, m = self.prompt.width, self.hidden
        if self.encoder == "mlp":
            network = (d * m + m) + (m * m + m) + (m * d + d)
        else:
            first = 2 * 4 * (d * m + m * m + 2 * m)
            more = (self.recurrent_layers - 1) * 2 * 4 * (2 * m * m + m * m + 2 * m)
            network = first + more + (2 * m * 2 * m + 2 * m) + (2 * m * d + d)
        return self.prompt.count() + network

    def stored(self) -> int:
        """length * width: the vectors themselves."""
        return self.prompt.count()

    def reaches(self, anatomy: Anatomy) -> tuple[Placement, ...]:
        """The prompt that its network folds into."""
        return (self.prompt,)

    def build(self, generator: torch.Generator) -> EncodedPrompt:
        return EncodedPrompt(self, generator)


class EncodedPrompt(PromptVectors):
    """``network(E)``, E (l, d) drawn from N(0, 1); weights are uniform as those of torch.

    The network runs in every call; after ``merge()``, in evaluation without gradients, it runs
    once and its vectors are kept.
    """

    def __init__(self, placement: PTuningPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.entry = placement.prompt.entry
        self.position = placement.prompt.position
        d, m = placement.prompt.width, placement.hidden
        shape = (placement.prompt.length, d)
        self.embedding = nn.Parameter(torch.randn(shape, generator=generator))
        self.lstm: nn.LSTM | None = None
        widths: tuple[int, ...] = (d, m, m, d)
        if placement.encoder == "lstm":
            self.lstm = SeededLSTM(d, m, placement.recurrent_layers, generator)
            widths = (2 * m, 2 * m, d)
        self.mlp = nn.ModuleList(
            random_linear(a, b, True, generator) for a, b in zip(widths, widths[1:], strict=False)
        )

        self._folds = Folds(self)

    def forward(self) -> Tensor:
        """The vectors, (l, width)."""
        return self._folds.get(self.training, self.embedding.dtype, self._encode)

    def _encode(self) -> Tensor:
        vectors: Tensor = self.embedding
        if self.lstm is not None:
            vectors = self.lstm(vectors[None])[0][0]
        for layer in self.mlp[:-1]:
            vectors = torch.relu(layer(vectors))
        out: Tensor = self.mlp[-1](vectors)
        return out


@dataclass(frozen=True, kw_only=True)
class PTuning(EnteringPrompt):
    """P-tuning: a prompt computed by an MLP, or by an LSTM and an MLP, that folds away.

    Trained vectors E (l, d) pass through the network; afterwards its output is a plain prompt.
    Entry and position as in :class:`Prompt`. E starts at random, N(0, 1), so it can start from
    no words. The original trains the language model too: here it
    is frozen.

    Source: Liu et al. 2103.10385; networks as in HF peft's prompt encoder.
    """

    kind: ClassVar[str] = "ptuning"
    formula: ClassVar[str] = (
        "length*d + 3 linears d, m, m, d; lstm: length*d + LSTM + 2 linears 2m, 2m, d; "
        "stored: length*d"
    )
    source: ClassVar[str] = "Liu 2103.10385; as in HF peft"

    encoder: Encoder | Domain[Any] = setting(
        OneOf("mlp", "lstm"), default="mlp", help="the network that computes the prompt"
    )
    hidden: int | None | Domain[int | None] = setting(
        AnyOf(OneOf(None), Whole(1)), default=None, help="width inside it; None: that of the words"
    )
    recurrent_layers: int | Domain[int] = setting(
        Whole(1), default=2, when={"encoder": ("lstm",)}, help="layers of the LSTM"
    )

    def place(self, anatomy: Anatomy) -> Iterator[PTuningPlacement]:
        encoder: Encoder = held(self.encoder)
        layers = held(self.recurrent_layers) if encoder == "lstm" else 1
        prompt = self.prompt(anatomy)
        if prompt is not None:
            hidden = held(self.hidden) or prompt.width
            yield PTuningPlacement(prompt.site, prompt, encoder, hidden, layers, prompt.stack)

    def words(self) -> str:
        """For example ``p-tuning length 10 (mlp 128)``."""
        network = f"({self.encoder}" + (")" if self.hidden is None else f" {self.hidden})")
        unusual = f" ({', '.join(self.unusual())})" if self.unusual() else ""
        return f"p-tuning length {self.length}{unusual} {network}"


class SeededLSTM(nn.LSTM):
    """A bidirectional LSTM whose weights are drawn with ``generator`` alone, as those of torch."""

    def __init__(self, n_in: int, hidden: int, layers: int, generator: torch.Generator) -> None:
        self._generator = generator
        super().__init__(n_in, hidden, layers, bidirectional=True, batch_first=True)
        del self._generator  # a module with a generator in it could not be copied

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=self._generator)
