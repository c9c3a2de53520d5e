"""Texts whose words have tags; one linear layer answers at the first token of each word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from peftnas.search.splits import TaggedSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.search.trial.batches import Batch, Tokens, tokens_from
from peftnas.search.trial.forms.form import Form, Outcome, Reader, Rows, passes
from peftnas.search.trial.head import Attached, Head, last_hidden, output_width, start_head
from peftnas.search.trial.losses import LEFT_OUT, loss_of_some

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from peftnas.search.trial.classifier import Classifier

OUTSIDE = "O"
NOWHERE = -1  # place of a word whose tokens were all cut


@dataclass(frozen=True)
class TaggedBatch(Batch):
    """Words of some texts.

    Attributes:
        labels: (N,) tag numbers of the N words that have a token, text after text; LEFT_OUT where
            training has no such tag.
        rows, places: (N,) where the first token of each of them stands.
    """

    rows: Tensor
    places: Tensor


@dataclass(frozen=True)
class TaggedRows:
    """Tokens of texts, and which token stands for which word.

    Attributes:
        tokens: of the texts.
        labels: tags of all words.
        numbers: (words,) their numbers; LEFT_OUT where training has no such tag.
        places: (words,) the token of each word in its text, or NOWHERE.
        starts: (n + 1,) where the words of each text begin.
        names: of the tags.
    """

    tokens: Tokens
    labels: list[list[str]]
    numbers: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.tokens.lengths

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> TaggedBatch:
        plain = self.tokens.batch(rows, device)
        spans = [slice(self.starts[row], self.starts[row + 1]) for row in rows.tolist()]
        places = np.concatenate([self.places[span] for span in spans])
        owner = np.repeat(np.arange(len(rows)), [span.stop - span.start for span in spans])
        numbers = np.concatenate([self.numbers[span] for span in spans])
        kept = places != NOWHERE
        return TaggedBatch(
            plain.input_ids,
            plain.attention_mask,
            plain.token_type_ids,
            *(torch.from_numpy(one[kept]).to(device) for one in (numbers, owner, places)),
        )


class TokenHead(Head):
    """One linear layer on the hidden states of single tokens; those of prompts are not read.

    Args:
        width: width d of the backbone.
        n_outputs: number of tags.
        dropout: probability of dropping an element of what it reads.
    """

    def __init__(self, width: int, n_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, n_outputs)

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """(N, n_outputs) at the words of a :class:`TaggedBatch`."""
        hidden = last_hidden(base, attached, batch)
        logits: Tensor = self.score(self.dropout(hidden[batch.rows, batch.places].float()))
        return logits


@dataclass(frozen=True)
class Tagging(Form):
    """Splits are ``TaggedSplit``; predictions are the tags of each text's words, by name.

    A word is tagged at its first token, as is usual. A word beyond the largest length gets "O".
    Where training lacks a tag the loss leaves it out, and no prediction is right.
    """

    kind: ClassVar[str] = "tagging"
    usage: ClassVar[str] = 'tags = model([["a", "text"]])'

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, TaggedSplit)
        ids, places = _aligned(split.words, reader, length)
        number = {name: index for index, name in enumerate(names)}
        numbers = [number.get(tag, LEFT_OUT) for tags in split.tags for tag in tags]
        nothing = np.zeros(len(split), dtype=np.int64)
        return TaggedRows(
            tokens_from(ids, None, nothing, reader.pad),
            split.tags,
            np.asarray(numbers, dtype=np.int64),
            np.concatenate(places),
            np.concatenate([[0], np.cumsum([len(tags) for tags in split.tags])]).astype(np.int64),
            tuple(names),
        )

    def head(
        self,
        base: PreTrainedModel,
        n_outputs: int,
        pooling: str,
        *,
        causal: bool,
        dropout: float,
        seed: int,
    ) -> Head:
        return start_head(TokenHead(output_width(base), n_outputs, dropout), seed)

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return loss_of_some(answer, labels)

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        assert isinstance(rows, TaggedRows)
        found = np.full(len(rows.numbers), NOWHERE)
        total = 0.0
        for numbers, batch, answer in passes(model, rows):
            known = int((batch.labels != LEFT_OUT).sum())
            total += float(self.loss(answer, batch.labels)) * known
            spans = [np.arange(rows.starts[row], rows.starts[row + 1]) for row in numbers.tolist()]
            words = np.concatenate(spans)
            words = words[rows.places[words] != NOWHERE]
            found[words] = answer.argmax(dim=1).cpu().numpy()
        tags = [OUTSIDE if best == NOWHERE else rows.names[best] for best in found.tolist()]
        cuts = zip(rows.starts[:-1].tolist(), rows.starts[1:].tolist(), strict=True)
        told = int(((rows.places != NOWHERE) & (rows.numbers != LEFT_OUT)).sum())
        return Outcome([tags[start:end] for start, end in cuts], total / max(1, told))

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``words``: a list of words for each text."""
        (words,) = examples
        return TaggedSplit([list(text) for text in words], [[OUTSIDE] * len(t) for t in words])


def _aligned(
    texts: Sequence[Sequence[str]], reader: Reader, length: int
) -> tuple[list[list[int]], list[npt.NDArray[np.int64]]]:
    """The tokens of each text, and the place of the first token of each of its words.

    Words are joined by spaces and found again by their characters: no tokenizer has to know that
    a text comes in words.
    """
    tokenizer = reader.fast("tags of words")
    encoded = tokenizer(
        [" ".join(words) for words in texts],
        truncation=True,
        max_length=length,
        return_offsets_mapping=True,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    ids: list[list[int]] = encoded["input_ids"]
    marks = _marks(tokenizer, ids)
    places = []
    for words, row, offsets in zip(texts, ids, encoded["offset_mapping"], strict=True):
        marked = np.array([token in marks for token in row], dtype=bool)
        pairs = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        letters = _first_tokens(words, np.where(marked[:, None], 0, pairs))
        places.append(np.where(letters == NOWHERE, _first_tokens(words, pairs), letters))
    return ids, places


def _marks(tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]]) -> set[int]:
    """Tokens that stand for a space alone.

    Sentence pieces put one in front of a text and let it stand for the first letter; a causal
    model has read nothing of the word there.
    """
    used = sorted({token for row in ids for token in row})
    pieces = tokenizer.convert_ids_to_tokens(used)
    return {token for token, piece in zip(used, pieces, strict=True) if not piece.strip("▁ ")}


def _first_tokens(words: Sequence[str], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first token of each word, (words,), or NOWHERE; tokens with empty offsets are none's."""
    begins = np.concatenate([[0], np.cumsum([len(word) + 1 for word in words])])[:-1]
    ends_of_words = begins + [len(word) for word in words]
    starts, ends = offsets.T
    own = np.where(ends > starts, ends, 0)  # special tokens stand nowhere
    reached = np.maximum.accumulate(own)
    first = np.searchsorted(reached, begins, side="right")  # first token that ends after it
    inside = first < len(own)
    inside[inside] &= starts[first[inside]] < ends_of_words[inside]
    return np.where(inside, first, NOWHERE)
