"""What all tasks over data sets share: reading their splits, holding out what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np

from peftnas.search.task_protocol import AnySplit, TaskData
from peftnas.studies.tasks import metrics as known_metrics
from peftnas.studies.tasks.arguments import check_column, check_share
from peftnas.studies.tasks.holdout import hold_out
from peftnas.studies.tasks.labels import is_hidden
from peftnas.studies.tasks.sources import Source, read
from peftnas.studies.tasks.tables import Table
from peftnas.studies.tasks.templates import columns_in


class Options(TypedDict, total=False):
    """Arguments that every task over a data set takes.

    metrics: what is scored; the first is the default objective.
    name: name of the task; by default that of the source.
    config: configuration of a hub data set.
    validation: share of train to hold out where there is no validation split.
    test: the same for the test split.
    splits: split names that replace the usual ones, such as
        ``{"validation": "validation_matched"}``.
    """

    metrics: str | Sequence[str] | None
    name: str | None
    config: str | None
    validation: float
    test: float
    splits: dict[str, str] | None


class SourceTask(ABC):
    """A task whose rows lie in a table a split.

    Args:
        source: see :class:`~peftnas.studies.tasks.classification.TextClassification`.
        columns: name of the column of each role, or a text with names of columns in braces;
            ``None``: the task does without it. The role "label" may be missing in a test split of
            the hub.
        metrics: names; by default ``usual_metrics``.
        name, config, validation, test, splits: see :class:`Options`.
    Raises:
        ValueError: if a metric is unknown, or a share is none.
    """

    kind: ClassVar[str]
    compares: ClassVar[known_metrics.Kind]
    usual_metrics: ClassVar[tuple[str, ...]]
    label_argument: ClassVar[str] = "label"

    def __init__(
        self,
        source: Any,
        columns: Mapping[str, str | None],
        metrics: str | Sequence[str] | None = None,
        name: str | None = None,
        config: str | None = None,
        validation: float = 0.1,
        test: float = 0.1,
        splits: dict[str, str] | None = None,
    ) -> None:
        self.shares = {
            "validation": check_share("validation", validation),
            "test": check_share("test", test),
        }
        self.source = Source(source, config, splits)
        self.columns = dict(columns)
        for role, column in self.columns.items():
            if column is not None:
                check_column(self._argument(role), column)
        wanted = self.usual_metrics if metrics is None else metrics
        self.metrics = known_metrics.check_metrics(wanted, self.compares)
        self.name = name or self.source.name

    @property
    def directions(self) -> dict[str, Literal["maximize", "minimize"]]:
        """Which way each metric is better."""
        return {name: known_metrics.METRICS[name].direction for name in self.metrics}

    def to_dict(self) -> dict[str, Any]:
        """Sources, columns and metrics: what makes it this task."""
        return {
            "kind": self.kind,
            "source": self.source.to_dict(),
            "columns": self.columns,
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

    def test(self, data: Path | None, base: Path, seed: int) -> AnySplit:
        """The test examples, held out of train where the source has no labelled ones."""
        return self._splits(data, base, seed)[0]["test"]

    def score(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Every metric by name; its worst value when a prediction is not finite."""
        if isinstance(predictions, np.ndarray) and not np.isfinite(predictions).all():
            return {name: known_metrics.METRICS[name].worst for name in self.metrics}
        return known_metrics.score(self.metrics, self._answers(predictions), labels)

    def _answers(self, predictions: Any) -> Any:
        """What the metrics compare with the labels, from what the form predicts."""
        return predictions

    def _names(self, train: Table) -> tuple[str, ...]:
        """Names of the classes; empty where there are none."""
        return ()

    @abstractmethod
    def _split(self, table: Table, names: tuple[str, ...]) -> AnySplit:
        """The examples of a table, checked."""

    def _strata(self, split: AnySplit) -> Sequence[Hashable]:
        """What holding out keeps in proportion, one a row."""
        return [0] * len(split)

    @abstractmethod
    def _keys(self, split: AnySplit) -> Sequence[str]:
        """What makes a row itself; rows of equal keys are never divided."""

    def _splits(
        self, data: Path | None, base: Path, seed: int
    ) -> tuple[dict[str, AnySplit], dict[str, int], tuple[str, ...]]:
        """All splits, checked; how many rows were held out of train for which; class names.

        The test split is read here too, so that a broken one is found before anything is trained.
        What is held out of train shares no text with the splits that the source has.
        """
        parts = self.source.find(data, base)
        train = self._table(parts, "train")
        names = self._names(train)
        splits = {"train": self._split(train, names)}
        for split in ("test", "validation"):
            table = self._table(parts, split) if split in parts else None
            if table is not None and not (split == "test" and self._withheld(table, names)):
                splits[split] = self._split(table, names)
        held_out: dict[str, int] = {}
        for split in ("test", "validation"):
            if split not in splits:
                kept, held = self._hold_out(splits, split, seed)
                splits |= {"train": kept, split: held}
                held_out[split] = len(held)
        return splits, held_out, names

    def _withheld(self, test: Table, names: tuple[str, ...]) -> bool:
        label = self.columns.get("label")
        return label is not None and is_hidden(test, label, names)

    def _table(self, parts: dict[str, Any], split: str) -> Table:
        table = read(parts[split], split)
        for role, column in self.columns.items():
            # a hub may withhold the labels of its test split; a file of one's own does not
            withheld = (split, role) == ("test", "label") and not isinstance(parts[split], Path)
            for name in columns_in(column) if not withheld else ():
                table.column(name, self._argument(role))
        return table

    def _argument(self, role: str) -> str:
        """What the user calls a role."""
        return self.label_argument if role == "label" else role

    def _hold_out(
        self, splits: Mapping[str, AnySplit], purpose: str, seed: int
    ) -> tuple[AnySplit, AnySplit]:
        train = splits["train"]
        elsewhere = {
            key for split, one in splits.items() if split != "train" for key in self._keys(one)
        }
        kept, held = hold_out(
            self._keys(train),
            self._strata(train),
            self.shares[purpose],
            seed,
            purpose,
            elsewhere=elsewhere,
        )
        return train.take(kept), train.take(held)
