"""Examples of the forms besides texts with a class: one class for what a split of each holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt


class _Columns:
    """Columns of equal length: lists of JSON values, or arrays."""

    def __len__(self) -> int:
        return len(self._columns()[0])

    def content(self) -> Iterator[bytes]:
        """All examples and labels; tells two states of the data apart."""
        for column in self._columns():
            yield from _content(column)

    def take(self, rows: Sequence[int]) -> Self:
        """The examples with these numbers, in this order."""
        return type(self)(*(_taken(column, rows) for column in self._columns()))

    def _columns(self) -> list[Any]:
        return [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]


def _content(column: Any) -> Iterator[bytes]:
    if isinstance(column, np.ndarray):
        yield column.tobytes()
    elif len(column) and isinstance(column[0], np.ndarray):
        for one in column:
            yield str(one.shape).encode() + one.tobytes()
    else:
        yield json.dumps(column).encode()


def _taken(column: Any, rows: Sequence[int]) -> Any:
    if isinstance(column, np.ndarray):
        return column[list(rows)]
    return [column[row] for row in rows]


@dataclass(frozen=True)
class TaggedSplit(_Columns):
    """Texts whose words have tags.

    Attributes:
        words: the words of each text; at least one.
        tags: one for each word.
    """

    words: list[list[str]]
    tags: list[list[str]]


@dataclass(frozen=True)
class PlainSplit(_Columns):
    """Texts alone, for a language model.

    Attributes:
        texts: one an example.
    """

    texts: list[str]


@dataclass(frozen=True)
class TargetSplit(_Columns):
    """Texts to be answered with a text.

    Attributes:
        inputs: what is read, just as the model is to read it.
        targets: what is to be written.
    """

    inputs: list[str]
    targets: list[str]


@dataclass(frozen=True)
class ChoiceSplit(_Columns):
    """Texts with some continuations or answers, of which one is right.

    Attributes:
        contexts: one text an example.
        choices: at least two texts an example.
        labels: (n,) int64, number of the right one.
    """

    contexts: list[str]
    choices: list[list[str]]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class SpanSplit(_Columns):
    """Questions whose answer is a part of a text.

    Attributes:
        questions: one an example.
        contexts: the text that holds the answer.
        answers: answers that count as right; none where the text does not say.
        starts: (n,) int64, character of the context at which the first of them begins; -1 where
            there is none.
    """

    questions: list[str]
    contexts: list[str]
    answers: list[list[str]]
    starts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageSplit(_Columns):
    """Images with a class each.

    Attributes:
        images: (height, width, 3) uint8 each; sizes may differ.
        labels: (n,) int64 class numbers.
    """

    images: list[npt.NDArray[np.uint8]]
    labels: npt.NDArray[np.int64]
