"""Classification of texts and of pairs of texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from peftnas.search.task_protocol import Labels
from peftnas.studies.tasks import labels as read_labels
from peftnas.studies.tasks.arguments import check_texts
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metrics import Kind
from peftnas.studies.tasks.source_task import Options
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import columns_in
from peftnas.studies.tasks.text import TextTask

if TYPE_CHECKING:
    from peftnas.search.trial.forms.form import Form


class TextClassification(TextTask):
    """Which class a text, or a pair of texts, belongs to.

    A split that the source lacks is held out of train: by the study's seed, class by class, equal
    texts together. So is the test split where its labels are withheld (all -1, as GLUE's).

    Args:
        source: a csv, tsv, json, jsonl or parquet file; a folder with a file a split (train, dev
            or validation, test); a hub name; a ``datasets.DatasetDict``; or a dict from split to
            file. Relative paths are looked for in ``--data``, then beside the study's FILE.
            A tsv file has no quoting; a csv file has.
        text: column of the (first) text; or a text with names of columns in braces, such as
            ``"{word}: {sentence}"``.
        text_pair: column of the second text of a pair.
        label: column of the class, strings or whole numbers.
        metrics: what is scored, accuracy and macro_f1 by default; the first is the default
            objective. Known: accuracy, macro_f1, f1 (of class 1 of two), matthews.
        name: name of the task; by default that of the source.
        config: configuration of a hub data set.
        validation: share of train to hold out where there is no validation split.
        test: the same for the test split.
        splits: split names that replace the usual ones, such as
            ``{"validation": "validation_matched"}``.
        label_words: a word for each class, such as ``{"pos": "great", "neg": "bad"}``: a decoder
            then answers by its own head, which is asked for the word behind the template. They
            must begin with different tokens.
        template: with ``label_words``, what the decoder reads: ``{text}`` and, for pairs,
            ``{pair}`` stand for the texts; by default these, a line each, and ``Answer:``.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "text_classification"
    compares: ClassVar[Kind] = "classes"
    usual_metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def __init__(
        self,
        source: Any,
        text: str = "text",
        text_pair: str | None = None,
        label: str = "label",
        *,
        label_words: Mapping[str, str] | None = None,
        template: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(source, text, text_pair, label, **options)
        self.label_words = None if label_words is None else _words_of(label_words)
        self.template = self._checked(template)

    @property
    def form(self) -> Form | None:
        """Texts, or texts that are answered by label words."""
        if self.label_words is None:
            return None
        from peftnas.search.trial.forms.label_words import LabelWords

        return LabelWords(words=tuple(self.label_words.items()), template=self.template)

    def to_dict(self) -> dict[str, Any]:
        """What makes it this task."""
        if self.label_words is None:
            return super().to_dict()
        words = {"label_words": self.label_words, "template": self.template}
        return super().to_dict() | words

    def _checked(self, template: str | None) -> str:
        """The template, or the default one.

        Raises:
            DataError: if it leaves a text out, names another, or nothing reads it.
        """
        texts = ("{text}",) if self.text_pair is None else ("{text}", "{pair}")
        if template is None:
            return "\n".join((*texts, "Answer:"))
        if self.label_words is None:
            raise DataError(
                f"template needs label_words, which are asked for behind it, got {template!r} "
                "alone; pass label_words, a word for each class"
            )
        if not isinstance(template, str):
            raise DataError(
                f"template must be a text, got {template!r}; write such as '{{text}}:'"
            )
        named = [f"{{{name}}}" for name in columns_in(template)] if "{" in template else []
        if sorted(named) != sorted(texts):
            raise DataError(
                f"template must hold {' and '.join(texts)} and nothing else in braces, got "
                f"{template!r}; columns are named by text and text_pair"
            )
        return template

    def _answers(self, predictions: NDArray[np.float32]) -> NDArray[Any]:
        best: NDArray[Any] = predictions.argmax(axis=1)
        return best

    def _names(self, train: Table) -> tuple[str, ...]:
        return read_labels.class_names(train, self.label, self.metrics)

    def _labels(self, table: Table, names: tuple[str, ...]) -> Labels:
        return read_labels.class_numbers(table, self.label, names)


def _words_of(given: Any) -> dict[str, str]:
    words = check_texts("label_words", given, "class to word", "{'0': 'bad', '1': 'good'}")
    for name, word in words.items():
        if not word.strip():
            raise DataError(
                f"label_words must have a word for each class, got {word!r} for {name!r}; "
                "write one"
            )
    return words
