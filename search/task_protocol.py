"""What the search needs of a task: train and validation examples, and how answers are scored.

Ready-made tasks live in ``peftnas.studies.tasks``; anything that fulfils :class:`Task` will do.
Examples are of one *form*: texts with a class, words with tags, images, ... Each form is a file of
``search/trial/forms/``, which knows how such examples are answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64] | npt.NDArray[np.float32]


class AnySplit(Protocol):
    """Examples of one split, whatever their form; the other kinds: ``search/splits.py``."""

    def __len__(self) -> int: ...

    def content(self) -> Iterator[bytes]:
        """All examples and labels; tells two states of the data apart."""

    def take(self, rows: Sequence[int]) -> Self:
        """The examples with these numbers, in this order."""


@dataclass(frozen=True)
class Split:
    """Examples of one split of a task on texts.

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

    def content(self) -> Iterator[bytes]:
        for texts in (self.texts, self.pairs or []):
            yield json.dumps(texts).encode()
        yield self.labels.tobytes()

    def take(self, rows: Sequence[int]) -> Split:
        pairs = None if self.pairs is None else [self.pairs[row] for row in rows]
        return Split([self.texts[row] for row in rows], pairs, self.labels[list(rows)])


@dataclass(frozen=True)
class TaskData:
    """What trials may see of a task: no test split.

    Attributes:
        train: examples to train on, of the kind that the task's form reads.
        validation: examples that score a trial.
        label_names: name of each class; empty where there are none.
        n_outputs: width of the head's output: number of classes, else 1.
        facts: what a report says of the data (sizes, sources); JSON values.
    """

    train: AnySplit
    validation: AnySplit
    label_names: tuple[str, ...]
    n_outputs: int
    facts: dict[str, Any] = field(default_factory=dict)


class Task(Protocol):
    """A task as a study holds it: picklable, and cheap until it is opened.

    It may also have ``form``, a form of ``peftnas.search.trial.forms`` (without it: texts, or
    pairs of texts, with a class or a number each), and ``directions``: "minimize" for the metrics
    that are better when smaller, by name.
    """

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

    def test(self, data: Path | None, base: Path, seed: int) -> AnySplit:
        """The test examples. No trial calls this."""

    def score(self, predictions: Any, labels: Any) -> dict[str, float]:
        """Every metric by name.

        Args:
            predictions: what the task's form gives; of texts the head's output (n, n_outputs).
            labels: what its examples hold; of texts (n,), as in :class:`Split`.
        """
