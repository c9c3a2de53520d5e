"""Examples in, predictions out: a trained model with the tokenizer of its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peftnas.search.task_protocol import AnySplit, Split
from peftnas.search.trial.batches import Tokens, tokenise
from peftnas.search.trial.forms.form import Reader

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
    reader = Reader.of(backbone, tokenizer)
    return tokenise(split, tokenizer, max_length, pad=reader.pad, types=reader.types)


class Answerer:
    """A trained model that takes examples as they are: texts, or what its form reads.

    Args:
        classifier: trained; stays attached to its backbone.
        backbone: where the classifier's network came from.
        tokenizer: of the backbone; ``None`` where it reads no words.
        max_length: tokens of one example; longer ones are cut.
        label_names: of the classes; empty where there are none.
    """

    def __init__(
        self,
        classifier: Classifier,
        backbone: Backbone,
        tokenizer: PreTrainedTokenizerBase | None,
        max_length: int,
        label_names: Sequence[str],
    ) -> None:
        self.classifier = classifier
        self.label_names = tuple(label_names)
        self.backbone = backbone
        self.tokenizer = tokenizer
        self.max_length = max_length

    def __call__(self, *examples: Any) -> Any:
        """What the model predicts.

        Args:
            examples: what a split of its form holds, without labels. Of texts: a list of at least
                one, and for a task on pairs the list of their second texts.
        Returns:
            What the task's ``score`` takes. Of texts: logits (n, n_outputs); for a regression
            (n, 1).
        """
        self._check(examples[0] if examples else None)
        return self.predict(self.classifier.form.unlabelled(*examples))[0]

    def predict(self, split: AnySplit) -> tuple[Any, Any]:
        """The predictions for a split, and its labels as the task's ``score`` takes them."""
        reader = Reader.of(self.backbone, self.tokenizer)
        form = self.classifier.form
        rows = form.rows(split, reader, form.length(self.max_length), self.label_names)
        return self.classifier.predict(rows), rows.labels

    def labels(self, *examples: Any) -> list[str]:
        """The name of the likeliest class of each example, where it has one class."""
        return [self.label_names[best] for best in self(*examples).argmax(axis=1)]

    def tokens(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Tokens:
        """The tokens of texts, without labels."""
        self._check(texts)
        split = self.classifier.form.unlabelled(texts, pairs)
        assert isinstance(split, Split) and self.tokenizer is not None
        return tokens_of(split, self.backbone, self.tokenizer, self.max_length)

    def _check(self, texts: Any) -> None:
        if texts is None or isinstance(texts, str) or not len(texts):
            raise ValueError(f"texts must be a list of at least one text, got {texts!r}")
