"""Regression on texts and on pairs of texts."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from peftnas.search.task_protocol import Labels
from peftnas.studies.tasks import labels as read_labels
from peftnas.studies.tasks.metrics import Kind
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.text import TextTask


class TextRegression(TextTask):
    """A number for a text, or for a pair of texts, such as a similarity from 0 to 5.

    Args:
        source, text, text_pair, name, config, validation, test, splits: as in
            :class:`~peftnas.studies.tasks.classification.TextClassification`.
        label: column of the number.
        metrics: spearman, pearson or both; the first is the default objective.
    Raises:
        ValueError: if a metric is unknown; on opening, if the data are missing or not usable.
    """

    kind: ClassVar[str] = "text_regression"
    compares: ClassVar[Kind] = "numbers"
    usual_metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")

    def _answers(self, predictions: NDArray[np.float32]) -> NDArray[Any]:
        return predictions[:, 0]

    def _names(self, train: Table) -> tuple[str, ...]:
        read_labels.targets(train, self.label, varied=True)
        return ()

    def _labels(self, table: Table, names: tuple[str, ...]) -> Labels:
        return read_labels.targets(table, self.label)
