"""Which tokens are an answer, and what is learned where the text with it was cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

from peftnas.search.errors import UsageError
from peftnas.search.splits import SpanSplit
from peftnas.search.trial.forms.form import Reader
from peftnas.search.trial.forms.spans import SpanRows, Spans
from tests.search.trial.forms.test_tagging import trained

CONTEXT = "the untouchable films the films"


def rows_of(
    answers: list[str], starts: list[int], length: int = 64, may_lack: bool = False
) -> SpanRows:
    count = len(answers)
    kept = [[answer] if start >= 0 else [] for answer, start in zip(answers, starts, strict=True)]
    split = SpanSplit(["films"] * count, [CONTEXT] * count, kept, np.array(starts))
    reader = Reader(Path(), BertConfig(type_vocab_size=1), trained("word pieces"), 0)
    rows = Spans(may_lack=may_lack).rows(split, reader, length, ())
    assert isinstance(rows, SpanRows)
    return rows


def told(rows: SpanRows, row: int) -> str:
    """The text that the tokens of an answer stand for."""
    start = rows.tokens.starts[row]
    first, last = rows.spans[row] + start
    return CONTEXT[rows.begins[first] : rows.ends[last]]


def test_spaces_around_an_answer_do_not_count() -> None:
    rows = rows_of(["the untouchable ", " films", "films"], [0, 15, 26])
    assert [told(rows, row).strip() for row in range(3)] == ["the untouchable", "films", "films"]


def test_an_answer_whose_end_the_tokenizer_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import normalizers

    tokenizer = trained("word pieces")
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[attr-defined]
    split = SpanSplit(["the"], ["the films\x00 the"], [["films\x00"]], np.array([4]))
    reader = Reader(Path(), BertConfig(type_vocab_size=1), tokenizer, 0)
    rows = Spans().rows(split, reader, 64, ())
    assert isinstance(rows, SpanRows)
    first, last = rows.spans[0]
    assert "the films\x00 the"[rows.begins[first] : rows.ends[last]] == "films"


def loss(rows: SpanRows, form: Spans, numbers: list[int]) -> Any:
    batch = rows.batch(np.array(numbers))
    width = batch.input_ids.shape[1]
    scores = torch.arange(2.0 * width * len(numbers)).reshape(len(numbers), 2, width).sin()
    return form.loss(scores.requires_grad_(), batch.labels), scores


def test_an_answer_that_was_cut_is_left_out_of_the_loss() -> None:
    whole = rows_of(["the", "films"], [0, 26])
    cut = rows_of(["the", "films"], [0, 26], length=int(whole.lengths[0]) - 1)
    form = Spans()
    both, scores = loss(cut, form, [0, 1])
    alone, _ = loss(cut, form, [0])
    assert float(both.detach()) == pytest.approx(float(alone.detach()))
    both.backward()
    assert scores.grad[0].abs().sum() > 0 == scores.grad[1].abs().sum()
    nothing, scores = loss(cut, form, [1])
    nothing.backward()
    assert float(nothing.detach()) == 0.0 == scores.grad.abs().sum()


def test_an_answer_that_was_cut_is_none_where_some_texts_have_none() -> None:
    rows = rows_of(["the", "films", ""], [0, 26, -1], length=8, may_lack=True)
    assert rows.spans[1].tolist() == [0, 0] == rows.spans[2].tolist()


def test_no_answer_within_the_largest_length() -> None:
    with pytest.raises(UsageError, match="max_length must reach an answer.*got 8, .*; raise it"):
        rows_of(["films", "films"], [26, 26], length=8)
