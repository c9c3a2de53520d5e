"""Texts with some answers, of which one is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np

from peftnas.search.splits import ChoiceSplit
from peftnas.search.task_protocol import AnySplit
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options, SourceTask
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import texts_in

if TYPE_CHECKING:
    from peftnas.search.trial.forms.choices import Choices


class MultipleChoice(SourceTask):
    """Which of some answers is right.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        text: column of what is asked, or a text with names of columns in braces.
        choices: columns of the answers, or the one column that holds a list of them.
        label: column of the right one: its number, counted from 0, or its letter (A, B, ...).
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; the metric is accuracy.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "multiple_choice"
    compares: ClassVar[Kind] = "classes"
    usual_metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def __init__(
        self,
        source: Any,
        text: str = "text",
        choices: str | Sequence[str] = "choices",
        label: str = "label",
        **options: Unpack[Options],
    ) -> None:
        self.choices = (choices,) if isinstance(choices, str) else tuple(choices)
        columns = {f"choices[{number}]": name for number, name in enumerate(self.choices)}
        super().__init__(source, {"text": text, **columns, "label": label}, **options)
        self.text, self.label = text, label

    @property
    def form(self) -> Choices:
        """Texts with answers."""
        from peftnas.search.trial.forms.choices import Choices

        return Choices()

    def _answers(self, predictions: Any) -> Any:
        return predictions.argmax(axis=1)

    def _split(self, table: Table, names: tuple[str, ...]) -> ChoiceSplit:
        if len(self.choices) == 1:
            # a hub may hold the texts of the answers beside their letters
            held = [
                row["text"] if isinstance(row, dict) else row
                for row in table.columns[self.choices[0]]
            ]
            choices = [list(map(str, row or ())) for row in held]
        else:
            columns = [texts_in(table, name) for name in self.choices]
            choices = [list(row) for row in zip(*columns, strict=True)]
        labels = [_number(value) for value in table.columns[self.label]]
        for row, (some, label) in enumerate(zip(choices, labels, strict=True), start=1):
            if len(some) < 2 or not 0 <= label < len(some):
                raise DataError(
                    f"{table.where}: a row must have at least two answers and the number of the "
                    f"right one, counted from 0, got {len(some)} answers and "
                    f"{table.columns[self.label][row - 1]!r} in row {row}; correct that row"
                )
        return ChoiceSplit(texts_in(table, self.text), choices, np.array(labels, dtype=np.int64))

    def _keys(self, split: AnySplit) -> Sequence[str]:
        assert isinstance(split, ChoiceSplit)
        pairs = zip(split.contexts, split.choices, strict=True)
        return ["\t".join([text, *choices]) for text, choices in pairs]


def _number(value: Any) -> int:
    """The number of an answer; -1: there is none."""
    text = str(value).strip()
    if len(text) == 1 and text.isalpha():
        return ord(text.upper()) - ord("A")
    return int(text) if text.isascii() and text.isdigit() else -1
