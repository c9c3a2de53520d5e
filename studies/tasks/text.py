"""What tasks over texts share: reading their splits, holding out what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from peftnas.search.task_protocol import Labels, Split, TaskData
from peftnas.studies.tasks import metrics as known_metrics
from peftnas.studies.tasks.errors import DataError
from peftnas.studies.tasks.holdout import hold_out
from peftnas.studies.tasks.labels import is_hidden
from peftnas.studies.tasks.sources import Source, read
from peftnas.studies.tasks.tables import Table


class TextTask(ABC):
    """One text, or a pair of texts, and a label. See :class:`TextClassification`."""

    kind: ClassVar[str]
    compares: ClassVar[Literal["classes", "numbers"]]
    usual_metrics: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        source: Any,
        text: str = "text",
        text_pair: str | None = None,
        label: str = "label",
        *,
        metrics: str | Sequence[str] | None = None,
        name: str | None = None,
        config: str | None = None,
        validation: float = 0.1,
        test: float = 0.1,
        splits: dict[str, str] | None = None,
    ) -> None:
        for purpose, share in (("validation", validation), ("test", test)):
            if not 0 < share < 1:
                raise DataError(f"{purpose} must be a share of train in (0, 1), got {share!r}")
        self.source = Source(source, config, splits)
        self.text, self.text_pair, self.label = text, text_pair, label
        wanted = self.usual_metrics if metrics is None else metrics
        self.metrics = known_metrics.check_metrics(wanted, self.compares)
        self.name = name or self.source.name
        self.shares = {"validation": validation, "test": test}

    def to_dict(self) -> dict[str, Any]:
        """Sources, columns and metrics: what makes it this task."""
        return {
            "kind": self.kind,
            "source": self.source.to_dict(),
            "columns": {"text": self.text, "text_pair": self.text_pair, "label": self.label},
            "metrics": list(self.metrics),
            "held_out": self.shares,
            "splits": {split: names[0] for split, names in self.source.names.items() if names[0]},
        }

    def open(self, data: Path | None, base: Path, seed: int) -> TaskData:
        """Train and validation examples; see ``peftnas.search.task_protocol.Task``."""
        splits, held_out, names = self._splits(data, base, seed)
        facts = {
            "source": self.source.to_dict(),
            "train_rows": len(splits["train"]),
            "validation_rows": len(splits["validation"]),
            "held_out_of_train": held_out,
        }
        return TaskData(splits["train"], splits["validation"], names, max(1, len(names)), facts)

    def test(self, data: Path | None, base: Path, seed: int) -> Split:
        """The test examples, held out of train where the source has no labelled ones."""
        return self._splits(data, base, seed)[0]["test"]

    def score(self, predictions: NDArray[np.float32], labels: Labels) -> dict[str, float]:
        """Every metric by name; its worst value when a prediction is not finite."""
        if not np.isfinite(predictions).all():
            return {name: known_metrics.METRICS[name].worst for name in self.metrics}
        return known_metrics.score(self.metrics, self._answers(predictions), labels)

    @abstractmethod
    def _answers(self, predictions: NDArray[np.float32]) -> NDArray[Any]:
        """What the metrics compare with the labels, shape (n,), from (n, n_outputs)."""

    @abstractmethod
    def _names(self, train: Table) -> tuple[str, ...]:
        """Names of the classes; empty for a regression."""

    @abstractmethod
    def _labels(self, table: Table, names: tuple[str, ...]) -> Labels:
        """Labels of a table, shape (n,)."""

    @abstractmethod
    def _strata(self, labels: Labels) -> Sequence[Hashable]:
        """What holding out keeps in proportion, one a row."""

    def _splits(
        self, data: Path | None, base: Path, seed: int
    ) -> tuple[dict[str, Split], dict[str, int], tuple[str, ...]]:
        """All splits, checked; how many rows were held out of train for which; class names.

        The test split is read here too, so that a broken one is found before anything is trained.
        """
        parts = self.source.find(data, base)
        train = self._table(parts, "train")
        names = self._names(train)
        splits = {"train": self._split(train, names)}
        held_out: dict[str, int] = {}
        for split in ("test", "validation"):
            table = self._table(parts, split) if split in parts else None
            if table is None or (split == "test" and is_hidden(table, self.label, names)):
                splits["train"], splits[split] = self._hold_out(splits["train"], split, seed)
                held_out[split] = len(splits[split])
            else:
                splits[split] = self._split(table, names)
        return splits, held_out, names

    def _table(self, parts: dict[str, Any], split: str) -> Table:
        table = read(parts[split], split)
        for role in ("text", "text_pair", "label"):
            column = getattr(self, role)
            # a hub may withhold the labels of its test split; a file of one's own does not
            withheld = (split, role) == ("test", "label") and not isinstance(parts[split], Path)
            if column is not None and not withheld:
                table.column(column, role)
        return table

    def _split(self, table: Table, names: tuple[str, ...]) -> Split:
        return Split(
            _texts(table, self.text),
            None if self.text_pair is None else _texts(table, self.text_pair),
            self._labels(table, names),
        )

    def _hold_out(self, train: Split, purpose: str, seed: int) -> tuple[Split, Split]:
        pairs = train.pairs or [""] * len(train)
        whole = [f"{text}\t{pair}" for text, pair in zip(train.texts, pairs, strict=True)]
        strata = self._strata(train.labels)
        kept, held = hold_out(whole, strata, self.shares[purpose], seed, purpose)
        return _rows(train, kept), _rows(train, held)


def _texts(table: Table, column: str) -> list[str]:
    values = table.columns[column]
    for row, value in enumerate(values, start=1):
        if not isinstance(value, str):
            raise DataError(
                f"column {column!r} of {table.where} must hold texts, got {value!r} in row {row}; "
                "name another column or drop the row"
            )
    return values


def _rows(split: Split, rows: list[int]) -> Split:
    pairs = None if split.pairs is None else [split.pairs[row] for row in rows]
    return Split([split.texts[row] for row in rows], pairs, split.labels[rows])
