"""Prompt tuning: trained vectors among the inputs of the first layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from peftnas.methods.base import Method, Placement, PromptVectors
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import (
    AnyOf,
    Configurable,
    OneOf,
    Rule,
    Tokens,
    Whole,
    held,
    possible_values,
    setting,
)

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Entry = Literal["word_embeddings", "hidden"]
Position = Literal["before", "after_first"]


@dataclass(frozen=True)
class PromptPlacement(Placement):
    """The prompt of a backbone.

    Attributes:
        length: l, how many vectors.
        width: width of the embeddings (electra: may differ from the width of the stream).
        entry: where the vectors enter; see :class:`Prompt`.
        position: before token 0, or between tokens 0 and 1.
        stack: number of the stack that they enter.
        start: "random", or "vocabulary" or "tokens", which attach reads off the backbone.
        tokens: ids of the tokens that it starts from.
    """

    kind: ClassVar[str] = "prompt"
    length: int
    width: int
    entry: Entry
    position: Position
    stack: int = field(metadata={"usual": 0})
    start: str = field(default="random", metadata={"usual": "random", "function": False})
    tokens: tuple[int, ...] | None = field(
        default=None, metadata={"usual": None, "function": False}
    )

    def count(self) -> int:
        """length * width."""
        return self.length * self.width

    def joins_by(self) -> str | None:
        return "length"

    def build(self, generator: torch.Generator) -> SoftPrompt:
        return SoftPrompt(self, generator)


class SoftPrompt(PromptVectors):
    """The vectors (l, width), drawn uniformly from [-0.5, 0.5] where they start at random.

    Attributes:
        draws: (l,) in [0, 1), which choose the words of a start from the vocabulary.
    """

    def __init__(self, placement: PromptPlacement, generator: torch.Generator) -> None:
        super().__init__()
        self.placement = placement
        self.entry = placement.entry
        self.position = placement.position
        start = torch.rand(placement.length, placement.width, generator=generator) - 0.5
        self.embedding = nn.Parameter(start)
        self.draws: Tensor | None = None
        if placement.start == "vocabulary":
            self.draws = torch.rand(placement.length, generator=generator, dtype=torch.float64)

    def forward(self) -> Tensor:
        """The vectors, (l, width)."""
        return self.embedding


def _no_tokens(values: dict[str, Any]) -> str | None:
    if values["start"] != "tokens" or values["tokens"] is not None:
        return None
    return "start 'tokens' needs token ids, got tokens=None; give tokens=(id, ...)"


def _other_width(values: dict[str, Any]) -> str | None:
    if values["entry"] == "word_embeddings" or values["start"] == "random":
        return None
    return (
        "a start from words is one of word embeddings, got entry='hidden' with start="
        f"{values['start']!r}; take entry='word_embeddings'"
    )


@dataclass(frozen=True, kw_only=True)
class EnteringPrompt(Method):
    """What all prompts of the first layer share: how many vectors, and where they enter."""

    length: int | Domain[int] = setting(
        Whole(0), default=10, size=True, help="vectors l put in; 0 = absent"
    )
    entry: Entry | Domain[Any] = setting(
        OneOf("word_embeddings", "hidden"),
        default="word_embeddings",
        help="enter as word embeddings (with positions), or after the embedding layer (bare)",
    )
    position: Position | Domain[Any] = setting(
        OneOf("before", "after_first"),
        default="before",
        help="before the first token, or right after it (CLS, BOS)",
    )

    def clash(self, other: Configurable) -> str | None:
        """Several prompts enter together, at one place."""
        if not isinstance(other, EnteringPrompt):
            return None
        for name in ("entry", "position"):
            values = {*possible_values(getattr(self, name))} | {
                *possible_values(getattr(other, name))
            }
            if len(values) > 1:
                return (
                    f"prompts of one architecture must share their {name}, got "
                    f"{', '.join(sorted(values))}; hold one value in all of them"
                )
        return None

    def normal(self, anatomy: Anatomy) -> Self:
        """One name for both entries where they are the same, or where there is but one."""
        stack = anatomy.stacks[prompted_stack(anatomy)]
        if stack.word_embeddings is None:
            return self.replace(entry="hidden")
        if stack.word_embeddings == stack.embeddings:
            return self.replace(entry="word_embeddings")
        return self

    def prompt(self, anatomy: Anatomy) -> PromptPlacement | None:
        """The plain prompt, which starts at random; ``None`` for a length of 0.

        Raises:
            ValueError: if the backbone has no such entry.
        """
        length = held(self.length)
        if not length:
            return None
        number = prompted_stack(anatomy)
        stack = anatomy.stacks[number]
        entry: Entry = held(self.normal(anatomy).entry)
        if entry == "hidden" and stack.embeddings is None:
            words = stack.word_embeddings is not None
            raise ValueError(
                f"no module of a {anatomy.model_type} backbone is its whole embedding layer, so "
                "nothing can enter after it; "
                + ("take entry='word_embeddings'" if words else "it reads no words: take Prefix")
            )
        return PromptPlacement(
            site=f"{stack.prefix}embeddings",
            length=length,
            width=stack.embedding_width,
            entry=entry,
            position=held(self.position),
            stack=number,
        )

    def unusual(self) -> list[str]:
        """Settings of the entry that are not the default, in words."""
        pairs = ((self.entry, "word_embeddings"), (self.position, "before"))
        return [str(value) for value, usual in pairs if value != usual]


@dataclass(frozen=True, kw_only=True)
class Prompt(EnteringPrompt):
    """Prompt tuning: ``[P; E(x)]``, P (l, d) trained; l more tokens in every layer.

    - entry "word_embeddings": the vectors stand where word embeddings stand, so they get positions
      and token type 0 (and real tokens shift by l) and pass the embedding norm. HF peft's form.
    - entry "hidden": they enter after the whole embedding layer, without position, type or norm;
      real tokens keep their positions. The form of the library `adapters`, and the only one for
      images. Where the embedding layer is the table of words (llama, t5) both are the same.

    They enter the first stack that reads words: the encoder of an encoder-decoder.

    start "random" is uniform in [-0.5, 0.5], about ten times as large as many word embeddings
    (std 0.04): it wants a large learning rate. "vocabulary" takes the embeddings of words drawn
    at random, "tokens" those of given tokens (a label, an instruction), repeated to the length:
    ``tokens=tuple(tokenizer(text, add_special_tokens=False)["input_ids"])``. Never the identity,
    never mergeable, carries no gate.

    Source: Lester et al. 2104.08691.
    """

    kind: ClassVar[str] = "prompt"
    formula: ClassVar[str] = "length * width of the embeddings"
    source: ClassVar[str] = "Lester 2104.08691; entries as in HF peft and in `adapters`"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(("start", "tokens"), _no_tokens),
        Rule(("entry", "start"), _other_width),
    )

    start: str | Domain[str] = setting(
        OneOf("random", "vocabulary", "tokens"),
        default="random",
        help="random numbers, words drawn from the vocabulary, or the given tokens",
    )
    tokens: tuple[int, ...] | None | Domain[Any] = setting(
        AnyOf(OneOf(None), Tokens()),
        default=None,
        when={"start": ("tokens",)},
        help="ids of the tokens that it starts from, repeated to the length",
    )

    def normal(self, anatomy: Anatomy) -> Self:
        """Besides, tokens without their repetitions."""
        normal, tokens = super().normal(anatomy), cast(Any, self.tokens)
        if tokens is None:
            return normal
        return normal.replace(tokens=without_repetitions(tokens, held(self.length)))

    def place(self, anatomy: Anatomy) -> Iterator[PromptPlacement]:
        start, tokens = held(self.start), cast(Any, self.tokens)
        stack = anatomy.stacks[prompted_stack(anatomy)]
        if held(self.length) and start != "random" and stack.word_embeddings is None:
            raise ValueError(
                f"a {anatomy.model_type} backbone has no words to start a prompt from, got start="
                f"{start!r}; take 'random'"
            )
        prompt = self.prompt(anatomy)
        if prompt is not None:
            tokens = held(tokens) if start == "tokens" else None
            yield dataclasses.replace(prompt, start=start, tokens=tokens)

    def words(self) -> str:
        """For example ``prompt length 10``; settings other than the default in brackets."""
        unusual = self.unusual() + ([str(self.start)] if self.start != "random" else [])
        return f"prompt length {self.length}" + (f" ({', '.join(unusual)})" if unusual else "")


def without_repetitions(tokens: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The fewest tokens that are the same, repeated or cut to a length."""
    every = [tokens[i % len(tokens)] for i in range(length)]
    period = next(n for n in range(1, length + 1) if every[n:] == every[:-n])
    return tuple(every[:period])


def prompted_stack(anatomy: Anatomy) -> int:
    """Number of the stack that a prompt enters: the first that reads words, else images."""
    for place in ("word_embeddings", "embeddings"):
        for number, stack in enumerate(anatomy.stacks):
            if getattr(stack, place) is not None:
                return number
    return 0
