"""What the search needs of a task: train and validation examples, and how answers are scored.

Ready-made tasks live in ``peftnas.studies.tasks``; anything that fulfils :class:`Task` will do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Attributes:
        texts: one text an example.
        pairs: the second text of each example; ``None`` for single texts.
        labels: shape (n,); int64 class numbers, or float32 targets of a regression.
    """

    texts: list[str]
    pairs: list[str] | None
    labels: Labels

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class TaskData:
    """What trials may see of a task: no test split.

    Attributes:
        train: examples to train on.
        validation: examples that score a trial.
        label_names: name of each class; empty for a regression.
        n_outputs: width of the head's output: number of classes, 1 for a regression.
        facts: what a report says of the data (sizes, sources); JSON values.
    """

    train: Split
    validation: Split
    label_names: tuple[str, ...]
    n_outputs: int
    facts: dict[str, Any] = field(default_factory=dict)


class Task(Protocol):
    """A task as a study holds it: picklable, and cheap until it is opened."""

    @property
    def name(self) -> str: ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of what :meth:`score` returns; the first is the default objective."""

    def to_dict(self) -> dict[str, Any]:
        """What makes it this task: sources, columns, metrics; JSON values, no absolute paths."""

    def open(self, data: Path | None, base: Path, seed: int) -> TaskData:
        """Train and validation examples.

        Args:
            data: folder that relative sources are looked for in first; ``None``: only ``base``.
            base: folder of the study's file.
            seed: decides what is held out where a source has no validation split.
        Raises:
            ValueError: if a source is missing, empty, or lacks a column.
        """

    def test(self, data: Path | None, base: Path, seed: int) -> Split:
        """The test examples. No trial calls this."""

    def score(self, predictions: npt.NDArray[np.float32], labels: Labels) -> dict[str, float]:
        """Every metric by name.

        Args:
            predictions: shape (n, n_outputs), the head's output.
            labels: shape (n,), as in :class:`Split`.
        """
