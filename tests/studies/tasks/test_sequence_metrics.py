"""Metrics of tags, likelihoods, texts, sets and answers against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from peftnas.studies.tasks import METRICS

RIGHT = [["B-a", "I-a", "O"], ["O", "B-b"]]
# the first span is cut short, the second found, one more invented
GUESS = [["B-a", "O", "O"], ["B-b", "B-b"]]


def test_spans() -> None:
    assert METRICS["span_precision"](GUESS, RIGHT) == pytest.approx(1 / 3)
    assert METRICS["span_recall"](GUESS, RIGHT) == pytest.approx(1 / 2)
    assert METRICS["span_f1"](GUESS, RIGHT) == pytest.approx(2 / 5)
    assert METRICS["tag_accuracy"](GUESS, RIGHT) == pytest.approx(3 / 5)


def test_no_span_at_all_is_no_warning() -> None:
    nothing = [["O"] * len(row) for row in RIGHT]
    assert METRICS["span_f1"](nothing, RIGHT) == 0.0


def test_perplexity_weighs_tokens_not_texts() -> None:
    sums, counts = np.array([2.0, 6.0]), np.array([1, 3])
    assert METRICS["perplexity"](sums, counts) == pytest.approx(math.exp(2))
    assert METRICS["perplexity"](1e9 * sums, counts) == pytest.approx(METRICS["perplexity"].worst)


def test_texts() -> None:
    guesses, right = ["a b", "a  c "], ["a b", "a c d"]
    assert METRICS["exact_match"](guesses, right) == 0.5
    assert METRICS["exact_match"](["a  c "], ["a c"]) == 1.0, "spaces do not count"
    # of two and three words, two are shared: precision 1, recall 2/3
    assert METRICS["rouge1"](guesses, right) == pytest.approx((1 + 0.8) / 2)
    assert METRICS["rouge_l"](["b a"], ["a b"]) == pytest.approx(0.5)
    assert METRICS["rouge2"](["a b c"], ["a b d"]) == pytest.approx(0.5)


def test_answers() -> None:
    right = [["the red Fox", "fox"], [], ["a cat, big"]]
    assert METRICS["answer_match"](["Red fox!", "", "big cat"], right) == pytest.approx(2 / 3)
    # big cat and cat big: the same words in another order
    assert METRICS["answer_f1"](["fox red dog", "x", "big cat"], right) == pytest.approx(
        (0.8 + 0 + 1) / 3
    )


def test_sets() -> None:
    right, guesses = np.array([[1, 0], [1, 1]]), np.array([[1, 0], [0, 1]])
    assert METRICS["micro_f1_of_sets"](guesses, right) == pytest.approx(2 * 2 / (2 * 2 + 1))
    assert METRICS["macro_f1_of_sets"](guesses, right) == pytest.approx((2 / 3 + 1) / 2)
    assert METRICS["subset_accuracy"](guesses, right) == 0.5
