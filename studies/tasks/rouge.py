"""ROUGE over words of any script; rouge-score's own words are of a-z and 0-9 alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

# kana and ideographs, which are written without spaces: each is a word
_SIGNS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORDS = re.compile(rf"[{_SIGNS}]|[^\W_{_SIGNS}]+")


class Words:
    """The words of a text: runs of letters, digits and marks, in lower case.

    Of plain letters and digits they are those of rouge-score. Texts of other scripts written
    without spaces (Thai) are one word up to the next punctuation.
    """

    def tokenize(self, text: str) -> list[str]:
        """The words, as rouge-score asks for them."""
        plain = unicodedata.normalize("NFC", text.lower())
        # vowel signs of Indic scripts are marks, which end no word
        joined = "".join("\u0640" if unicodedata.category(one)[0] == "M" else one for one in plain)
        return [plain[found.start() : found.end()] for found in _WORDS.finditer(joined)]


def rouge(kind: str) -> Callable[[Sequence[str], Sequence[str]], float]:
    """The mean F-measure of predictions and labels, texts each.

    Args:
        kind: "rouge1", "rouge2" or "rougeL".
    """

    def compute(predictions: Sequence[str], labels: Sequence[str]) -> float:
        scorer = _scorer(kind)
        pairs = zip(labels, predictions, strict=True)
        return float(np.mean([scorer.score(*pair)[kind].fmeasure for pair in pairs]))

    return compute


@cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], tokenizer=Words())
