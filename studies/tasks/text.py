"""What classification and regression of texts share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, Unpack

from peftnas.search.task_protocol import AnySplit, Labels, Split
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import texts_in


class TextTask(SourceTask):
    """One text, or a pair of texts, and a label. See :class:`TextClassification`."""

    def __init__(
        self,
        source: Any,
        text: str = "text",
        text_pair: str | None = None,
        label: str = "label",
        **options: Unpack[Options],
    ) -> None:
        columns = {"text": text, "text_pair": text_pair, "label": label}
        super().__init__(source, columns, **options)
        self.text, self.text_pair, self.label = text, text_pair, label

    @abstractmethod
    def _labels(self, table: Table, names: tuple[str, ...]) -> Labels:
        """Labels of a table, shape (n,)."""

    def _split(self, table: Table, names: tuple[str, ...]) -> Split:
        return Split(
            texts_in(table, self.text),
            None if self.text_pair is None else texts_in(table, self.text_pair),
            self._labels(table, names),
        )

    def _strata(self, split: AnySplit) -> Sequence[Hashable]:
        assert isinstance(split, Split)
        return [0 if self.compares == "numbers" else int(label) for label in split.labels]

    def _keys(self, split: AnySplit) -> Sequence[str]:
        assert isinstance(split, Split)
        pairs = split.pairs or [""] * len(split)
        return [f"{text}\t{pair}" for text, pair in zip(split.texts, pairs, strict=True)]
