"""Texts with any number of classes each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from peftnas.search.task_protocol import Labels
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.labels import lists_in
from peftnas.studies.tasks.metric import Kind
from peftnas.studies.tasks.source_task import Options
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.text import TextTask

if TYPE_CHECKING:
    from peftnas.search.trial.forms.label_sets import LabelSets


class MultiLabelClassification(TextTask):
    """Which of some classes a text, or a pair of texts, has; none or several may be right.

    Args:
        source, text, text_pair: as in
            :class:`~peftnas.studies.tasks.classification.TextClassification`.
        labels: column of the classes: a list (numbers where the source names its classes), or a
            text with spaces, or with ``separator``, between them.
        separator: what stands between the classes in a text.
        options: see :class:`~peftnas.studies.tasks.source_task.Options`; metrics micro_f1_of_sets,
            macro_f1_of_sets and subset_accuracy (all classes of a text right).
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "multi_label_classification"
    compares: ClassVar[Kind] = "sets"
    usual_metrics: ClassVar[tuple[str, ...]] = ("micro_f1_of_sets", "macro_f1_of_sets")
    label_argument: ClassVar[str] = "labels"

    def __init__(
        self,
        source: Any,
        text: str = "text",
        text_pair: str | None = None,
        labels: str = "labels",
        *,
        separator: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(source, text, text_pair, labels, **options)
        if separator is not None and not (isinstance(separator, str) and separator):
            raise DataError(
                f"separator must be a text, got {separator!r}; write such as ',', or leave it out "
                "where spaces stand between the classes"
            )
        self.separator = separator

    @property
    def form(self) -> LabelSets:
        """Texts with sets of classes."""
        from peftnas.search.trial.forms.label_sets import LabelSets

        return LabelSets()

    def to_dict(self) -> dict[str, Any]:
        """What makes it this task."""
        own = {} if self.separator is None else {"separator": self.separator}
        return super().to_dict() | own

    def _answers(self, predictions: NDArray[np.float32]) -> NDArray[Any]:
        given: NDArray[Any] = (predictions > 0).astype(np.int64)
        return given

    def _names(self, train: Table) -> tuple[str, ...]:
        sets = self._sets(train)
        self._check_separator(train)
        names = train.class_names.get(self.label) or tuple(
            sorted({name for row in sets for name in row})
        )
        if len(names) < 2:
            raise DataError(
                f"column {self.label!r} of {train.where} must have at least two classes, got "
                f"{', '.join(map(repr, names)) or 'none'}; add rows of others"
            )
        return names

    def _labels(self, table: Table, names: tuple[str, ...]) -> Labels:
        number = {name: index for index, name in enumerate(names)}
        found = np.zeros((len(table), len(names)), dtype=np.float32)
        for row, some in enumerate(self._sets(table)):
            for name in some:
                if name not in number:
                    raise DataError(
                        f"column {self.label!r} of {table.where} must hold classes of the "
                        f"training split, got {name!r} in row {row + 1}; correct it or drop it"
                    )
                found[row, number[name]] = 1
        return found

    def _strata(self, split: Any) -> Sequence[int]:
        return [0] * len(split)

    def _sets(self, table: Table) -> list[list[str]]:
        rows = lists_in(table, self.label, "classes", self.separator)
        return [[name.strip() for name in row if name.strip()] for row in rows]

    def _check_separator(self, train: Table) -> None:
        """Refuse one that stands nowhere, where something else could be meant."""
        texts = [text for text in train.columns[self.label] if isinstance(text, str)]
        used = self.separator is None or any(self.separator in text for text in texts)
        if not used and any(len(text.split()) > 1 for text in texts):
            raise DataError(
                f"separator must stand between classes in column {self.label!r} of {train.where}, "
                f"got {self.separator!r}, which is in no row; leave it out where spaces do"
            )
