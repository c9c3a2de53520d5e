"""Texts in, logits out: a trained classifier with the tokenizer of its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from peftnas.search.task_protocol import Split
from peftnas.search.trial.batches import Tokens, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from peftnas.search.backbone import Backbone
    from peftnas.search.trial.classifier import Classifier


def tokens_of(
    split: Split, backbone: Backbone, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Tokens:
    """The tokens of texts, just as trials make them.

    Args:
        split: the texts.
        backbone: says the padding token, and whether it wants token types.
        tokenizer: of the backbone.
        max_length: longer examples are cut.
    """
    types = getattr(backbone.config(), "type_vocab_size", 1) > 1
    return tokenise(split, tokenizer, max_length, pad=backbone.pad_id(), types=types)


class Answerer:
    """A trained classifier that takes texts.

    Args:
        classifier: trained; stays attached to its backbone.
        backbone: where the classifier's network came from.
        tokenizer: of the backbone.
        max_length: tokens of one example; longer ones are cut.
        label_names: of the classes; empty for a regression.
    """

    def __init__(
        self,
        classifier: Classifier,
        backbone: Backbone,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        label_names: Sequence[str],
    ) -> None:
        self.classifier = classifier
        self.label_names = tuple(label_names)
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_length = max_length

    def __call__(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> npt.NDArray[np.float32]:
        """The logits of texts.

        Args:
            texts: at least one.
            pairs: the second text of each, for a task on pairs.
        Returns:
            Shape (n, n_outputs); for a regression (n, 1).
        """
        return self.classifier.predict(self.tokens(texts, pairs))

    def labels(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[str]:
        """The name of the likeliest class of each text."""
        return [self.label_names[best] for best in self(texts, pairs).argmax(axis=1)]

    def tokens(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """The tokens of texts, without labels."""
        if isinstance(texts, str) or not texts:
            raise ValueError(f"texts must be a list of at least one text, got {texts!r}")
        none = np.zeros(len(texts), dtype=np.int64)
        split = Split(list(texts), None if pairs is None else list(pairs), none)
        return tokens_of(split, self.backbone, self.tokenizer, self.max_length)
