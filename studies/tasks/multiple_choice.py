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
        self.choices = _columns_of(choices)
        columns = {f"choices[{number}]": name for number, name in enumerate(self.choices)}
        super().__init__(source, {"text": text, **columns, "label": label}, **options)
        self.text, self.label = text, label
        others = [name for name in self.metrics if name not in self.usual_metrics]
        if others:
            # the number of an answer is its place, which is no class
            raise DataError(
                f"metrics of MultipleChoice must be accuracy, got {others[0]!r}; leave it out"
            )

    @property
    def form(self) -> Choices:
        """Texts with answers."""
        from peftnas.search.trial.forms.choices import Choices

        return Choices()

    def _answers(self, predictions: Any) -> Any:
        return predictions.argmax(axis=1)

    def _split(self, table: Table, names: tuple[str, ...]) -> ChoiceSplit:
        if len(self.choices) == 1:
            choices = _lists_of_answers(table, self.choices[0])
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


def _columns_of(choices: Any) -> tuple[str, ...]:
    """The columns of the answers, as they were passed."""
    if isinstance(choices, str):
        return (choices,)
    if not isinstance(choices, Sequence) or not choices:
        raise DataError(
            "choices must be a column with lists of answers, or columns with an answer each, got "
            f"{choices!r}; name them"
        )
    return tuple(choices)


def _lists_of_answers(table: Table, column: str) -> list[list[str]]:
    found = []
    for row, value in enumerate(table.columns[column], start=1):
        # a hub may hold the texts of the answers beside their letters
        some: Any = value.get("text") if isinstance(value, dict) else value
        plain = isinstance(some, Sequence) and not isinstance(some, str)
        if not plain or not all(isinstance(one, str | int | float) for one in some):
            raise DataError(
                f"column {column!r} of {table.where} must hold a list of answers, got {value!r} "
                f"in row {row}; pass choices=(COLUMN, COLUMN, ...) where each answer has a column"
            )
        found.append(list(map(str, some)))
    return found


def _number(value: Any) -> int:
    """The number of an answer; -1: there is none."""
    text = str(value).strip()
    if len(text) == 1 and text.isalpha():
        return ord(text.upper()) - ord("A")
    return int(text) if text.isascii() and text.isdigit() else -1
