"""Metrics of tags, likelihoods, texts, sets and answers against figures worked out by hand."""

from __future__ import annotations

import math
import time

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


def test_texts_of_any_script() -> None:
    for text in ("привет мир", "καλημέρα κόσμε", "हिन्दी भाषा", "今日は世界", "한국어 문장"):
        for name in ("rouge1", "rouge_l"):
            assert METRICS[name]([text], [text]) == 1.0, text
    # precision 1, recall 1/2
    assert METRICS["rouge1"](["Привет!"], ["привет, мир"]) == pytest.approx(2 / 3)
    assert METRICS["rouge_l"](["cafe"], ["café"]) == 0.0, "an accent makes another word"
    # signs of Chinese and Japanese are words
    assert METRICS["rouge1"](["今日"], ["今日は世"]) == pytest.approx(2 / 3)


def test_texts_of_plain_letters_score_as_rouge_score_has_them() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    pairs = [("The cat_sat, on 2 mats!", "the cat sat on-a mat"), ("", "a"), ("x.y", "X Y z")]
    for name, kind in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rouge_l", "rougeL")):
        for guess, right in pairs:
            expected = RougeScorer([kind]).score(right, guess)[kind].fmeasure
            assert METRICS[name]([guess], [right]) == pytest.approx(expected)


def test_tags_of_many_texts_take_time_in_proportion() -> None:
    """Adding list to list would take minutes."""
    rows = [["B-a", "O", "O", "O", "O"]] * 60_000
    start = time.process_time()
    assert METRICS["tag_accuracy"](rows, [["B-a", "O", "O", "O", "B-b"]] * 60_000) == 0.8
    assert time.process_time() - start < 10


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
