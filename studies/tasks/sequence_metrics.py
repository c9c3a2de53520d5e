"""Metrics of tags, likelihoods, texts, sets of classes and answers, from their usual packages."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from peftnas.studies.tasks.metric import Array, Metric
from peftnas.studies.tasks.rouge import rouge

Texts = Sequence[str]
Tags = Sequence[Sequence[str]]

LARGEST_PERPLEXITY = 1e6  # what a useless language model is told as


def _span_f1(predictions: Tags, labels: Tags) -> float:
    from seqeval.metrics import f1_score

    return float(f1_score(labels, predictions, zero_division=0))


def _span_precision(predictions: Tags, labels: Tags) -> float:
    from seqeval.metrics import precision_score

    return float(precision_score(labels, predictions, zero_division=0))


def _span_recall(predictions: Tags, labels: Tags) -> float:
    from seqeval.metrics import recall_score

    return float(recall_score(labels, predictions, zero_division=0))


def _tag_accuracy(predictions: Tags, labels: Tags) -> float:
    from sklearn.metrics import accuracy_score

    right, found = (list(chain.from_iterable(rows)) for rows in (labels, predictions))
    return float(accuracy_score(right, found))


def _perplexity(sums: Array, counts: Array) -> float:
    mean = float(np.sum(sums)) / float(np.sum(counts))
    return math.exp(min(mean, math.log(LARGEST_PERPLEXITY)))


def _exact_match(predictions: Texts, labels: Texts) -> float:
    pairs = zip(predictions, labels, strict=True)
    return float(np.mean([one.split() == other.split() for one, other in pairs]))


def _f1_of_sets(average: str) -> Callable[[Array, Array], float]:
    def compute(predictions: Array, labels: Array) -> float:
        from sklearn.metrics import f1_score

        return float(f1_score(labels, predictions, average=average, zero_division=0))

    return compute


def _subset_accuracy(predictions: Array, labels: Array) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels, predictions))


def _answer_match(predictions: Texts, labels: Sequence[Texts]) -> float:
    """As SQuAD's: the best over the right answers; no answer is right where there is none."""
    pairs = zip(predictions, labels, strict=True)
    return float(
        np.mean(
            [
                max(_normal(one) == _normal(right) for right in rights or [""])
                for one, rights in pairs
            ]
        )
    )


def _answer_f1(predictions: Texts, labels: Sequence[Texts]) -> float:
    pairs = zip(predictions, labels, strict=True)
    return float(
        np.mean([max(_word_f1(one, right) for right in rights or [""]) for one, rights in pairs])
    )


def _word_f1(one: str, other: str) -> float:
    words, right = _normal(one).split(), _normal(other).split()
    if not words or not right:
        return float(words == right)
    shared = sum((Counter(words) & Counter(right)).values())
    return 2 * shared / (len(words) + len(right))


def _normal(text: str) -> str:
    """Lower case, without punctuation and articles, as SQuAD's evaluation compares answers.

    Source: Rajpurkar et al., SQuAD, EMNLP 2016, section 6.1.
    """
    kept = "".join(one for one in text.lower() if one not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


SEQUENCE_METRICS = (
    Metric("span_f1", "maximize", 0.0, "tags", _span_f1),
    Metric("span_precision", "maximize", 0.0, "tags", _span_precision),
    Metric("span_recall", "maximize", 0.0, "tags", _span_recall),
    Metric("tag_accuracy", "maximize", 0.0, "tags", _tag_accuracy),
    Metric("perplexity", "minimize", LARGEST_PERPLEXITY, "likelihoods", _perplexity),
    Metric("exact_match", "maximize", 0.0, "texts", _exact_match),
    Metric("rouge1", "maximize", 0.0, "texts", rouge("rouge1")),
    Metric("rouge2", "maximize", 0.0, "texts", rouge("rouge2")),
    Metric("rouge_l", "maximize", 0.0, "texts", rouge("rougeL")),
    Metric("micro_f1_of_sets", "maximize", 0.0, "sets", _f1_of_sets("micro")),
    Metric("macro_f1_of_sets", "maximize", 0.0, "sets", _f1_of_sets("macro")),
    Metric("subset_accuracy", "maximize", 0.0, "sets", _subset_accuracy),
    Metric("answer_match", "maximize", 0.0, "answers", _answer_match),
    Metric("answer_f1", "maximize", 0.0, "answers", _answer_f1),
)
