"""Questions whose answer is a part of a text: one linear layer scores its start and its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from peftnas.search.errors import UsageError
from peftnas.search.splits import SpanSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.search.trial.batches import Batch, Tokens, ragged, tokens_from
from peftnas.search.trial.forms.form import Form, Outcome, Reader, Rows, passes
from peftnas.search.trial.head import Attached, Head, last_hidden, output_width, start_head
from peftnas.search.trial.losses import LEFT_OUT, disagreement, loss_of_some

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from peftnas.search.trial.classifier import Classifier

NEVER = -1e4  # score of a token that can be no part of an answer
NOTHING = (0, 0)  # the span that stands for no answer


@dataclass(frozen=True)
class SpanBatch(Batch):
    """Questions with their texts.

    Attributes:
        labels: (B, 2) number of the first and of the last token of the answer; 0: there is none;
            LEFT_OUT: it was cut.
        allowed: (B, T) bool, tokens of the text, and the first of all.
    """

    allowed: Tensor


@dataclass(frozen=True)
class SpanRows:
    """Tokens of questions and texts.

    Attributes:
        tokens: of both.
        spans: (n, 2) tokens of the answer; 0 where there is none; LEFT_OUT where it was cut.
        begins, ends: (total,) the characters of the text that each token stands for; both 0
            outside the text.
        contexts: the texts.
        labels: answers that are right.
    """

    tokens: Tokens
    spans: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    contexts: list[str]
    labels: list[list[str]]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return self.tokens.lengths

    def batch(self, rows: npt.NDArray[np.int64], device: str = "cpu") -> SpanBatch:
        plain = self.tokens.batch(rows, device)
        real, flat = ragged(self.tokens.starts, rows)
        allowed = np.zeros(real.shape, dtype=bool)
        allowed[real] = self.ends[flat] > self.begins[flat]
        allowed[:, 0] = True
        return SpanBatch(
            plain.input_ids,
            plain.attention_mask,
            plain.token_type_ids,
            torch.from_numpy(self.spans[rows]).to(device),
            torch.from_numpy(allowed).to(device),
        )


class SpanHead(Head):
    """Two scores for each token: that it begins the answer, and that it ends it."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(width, 2)

    def answer(self, base: PreTrainedModel, attached: Attached, batch: Any) -> Tensor:
        """(B, 2, T)."""
        hidden = last_hidden(base, attached, batch).float()
        scores: Tensor = self.score(self.dropout(hidden)).transpose(1, 2)
        return scores.masked_fill(~batch.allowed.unsqueeze(1), NEVER)


@dataclass(frozen=True)
class Spans(Form):
    """Splits are ``SpanSplit``; predictions are texts, "" for no answer.

    Text beyond the largest length is cut, so an answer there cannot be found: where some texts
    hold no answer that is what is learned of it, elsewhere the loss leaves it out.

    Attributes:
        may_lack: some texts hold no answer; else the best span of the text is always given.
        longest_answer: tokens of an answer.
    """

    kind: ClassVar[str] = "spans"
    usage: ClassVar[str] = 'answers = model(["a question"], ["the text with its answer"])'

    may_lack: bool = False
    longest_answer: int = 30

    def rows(self, split: AnySplit, reader: Reader, length: int, names: Sequence[str]) -> Rows:
        assert isinstance(split, SpanSplit)
        tokenizer = reader.fast("answers in a text")
        _check_room(split.questions, tokenizer, length)
        encoded = tokenizer(
            split.questions,
            split.contexts,
            truncation="only_second",
            max_length=length,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=reader.types,
        )
        offsets = []
        for row, pairs in enumerate(encoded["offset_mapping"]):
            inside = np.array([part == 1 for part in encoded.sequence_ids(row)])
            offsets.append(np.asarray(pairs, dtype=np.int64).reshape(-1, 2) * inside[:, None])
        spans = [
            _span(split, row, ends, encoded.encodings[row].overflowing)
            for row, ends in enumerate(offsets)
        ]
        self._check_reached(split, spans, length)
        none = NOTHING if self.may_lack else (LEFT_OUT, LEFT_OUT)
        begins, ends = np.concatenate(offsets).T
        types = encoded["token_type_ids"] if reader.types else None
        nothing = np.zeros(len(split), dtype=np.int64)
        tokens = tokens_from(encoded["input_ids"], types, nothing, reader.pad)
        numbers = np.array([span or none for span in spans], dtype=np.int64)
        return SpanRows(tokens, numbers, begins, ends, split.contexts, split.answers)

    def _check_reached(
        self, split: SpanSplit, spans: Sequence[tuple[int, int] | None], length: int
    ) -> None:
        if (split.starts >= 0).any() and not any(spans):
            raise UsageError(
                f"recipe.max_length must reach an answer in some text, got {length}, which cuts "
                "all answers; raise it"
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
        return start_head(SpanHead(output_width(base), dropout), seed)

    def loss(self, answer: Tensor, labels: Tensor) -> Tensor:
        return loss_of_some(answer.flatten(0, 1), labels.flatten())

    def disagreement(self, one: Tensor, other: Tensor) -> Tensor:
        return disagreement(one.flatten(0, 1), other.flatten(0, 1), classes=True)

    def evaluate(self, model: Classifier, rows: Rows) -> Outcome:
        assert isinstance(rows, SpanRows)
        found = [""] * len(rows)
        total = 0.0
        for numbers, batch, answer in passes(model, rows):
            known = int((batch.labels[:, 0] != LEFT_OUT).sum())
            total += float(self.loss(answer, batch.labels)) * known
            for row, scores in zip(numbers.tolist(), answer.cpu().numpy(), strict=True):
                found[row] = self._text(rows, row, scores)
        return Outcome(found, total / max(1, int((rows.spans[:, 0] != LEFT_OUT).sum())))

    def _text(self, rows: SpanRows, row: int, scores: npt.NDArray[np.float32]) -> str:
        """The text of the best span; scores (2, T)."""
        start = rows.tokens.starts[row]
        here = slice(start, rows.tokens.starts[row + 1])
        begins, ends = rows.begins[here], rows.ends[here]
        places = np.flatnonzero(ends > begins)
        if not len(places):
            return ""
        sums = scores[0, places][:, None] + scores[1, places][None, :]
        distance = places[None, :] - places[:, None]
        sums[(distance < 0) | (distance >= self.longest_answer)] = 2 * NEVER
        first, last = np.unravel_index(int(sums.argmax()), sums.shape)
        if self.may_lack and scores[0, 0] + scores[1, 0] > sums[first, last]:
            return ""
        return rows.contexts[row][begins[places[first]] : ends[places[last]]]

    def perfect(self, labels: Any, n_outputs: int) -> Any:
        return [rights[0] if rights else "" for rights in labels]

    def unlabelled(self, *examples: Any) -> AnySplit:
        """``questions, contexts``."""
        questions, contexts = examples
        none = np.full(len(questions), -1, dtype=np.int64)
        return SpanSplit(list(questions), list(contexts), [[] for _ in questions], none)


def _check_room(questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, length: int) -> None:
    """Refuse questions that fill an example alone."""
    plain = {"return_attention_mask": False, "return_token_type_ids": False}
    encoded = tokenizer(list(questions), add_special_tokens=False, **plain)["input_ids"]
    longest = max(map(len, encoded)) + tokenizer.num_special_tokens_to_add(pair=True)
    if longest >= length:
        raise UsageError(
            f"recipe.max_length must leave room for a text behind each question, got {length} "
            f"where a question takes up to {longest}; raise it, or drop the long questions"
        )


def _span(
    split: SpanSplit, row: int, offsets: npt.NDArray[np.int64], cut: Sequence[Any]
) -> tuple[int, int] | None:
    """First and last token of an answer, spaces around it apart.

    Args:
        offsets: (T, 2) characters of the text that each token stands for.
        cut: encodings of what is beyond the largest length.
    Returns:
        ``None`` where there is no answer, or it was cut.
    """
    if split.starts[row] < 0:
        return None
    answer = split.answers[row][0]
    start = int(split.starts[row]) + len(answer) - len(answer.lstrip())
    end = start + len(answer.strip())
    begins, ends = offsets.T
    inside = np.flatnonzero((ends > start) & (begins < end) & (ends > begins))
    lost = any(
        part == 1 and begin < end and start < until
        for encoding in cut
        for part, (begin, until) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
    )
    return None if lost or not len(inside) else (int(inside[0]), int(inside[-1]))
