"""Front: the best finished trials of a study, renewed trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftnas.search.objectives import Objective
from peftnas.search.pareto import minimised


@dataclass(frozen=True)
class FrontPoint:
    """A finished trial that no other dominates.

    Attributes:
        number: of the trial.
        values: in the order of the objectives.
        words: the architecture in one line.
    """

    number: int
    values: tuple[float, ...]
    words: str


class Front:
    """The trials that no other dominates; of equal ones all.

    Args:
        objectives: in the order of the study's directions.
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self._objectives = tuple(objectives)
        self._points: dict[int, tuple[FrontPoint, tuple[float, ...]]] = {}

    def add(self, point: FrontPoint) -> bool:
        """Take in a finished trial; whether it is on the front now."""
        directions = [known.direction for known in self._objectives]
        place = tuple(map(float, minimised([point.values], directions)[0]))
        others = [(number, other) for number, (_, other) in self._points.items()]
        if any(_dominates(other, place) for _, other in others):
            return False
        for number, other in others:
            if _dominates(place, other):
                del self._points[number]
        self._points[point.number] = point, place
        return True

    @property
    def numbers(self) -> set[int]:
        """The numbers of its trials."""
        return set(self._points)

    def points(self) -> list[FrontPoint]:
        """By the last objective, then by number."""
        points = (point for point, _ in self._points.values())
        return sorted(points, key=lambda point: (point.values[-1], point.number))


def _dominates(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether the first of two minimised points is nowhere worse and somewhere better."""
    return first != second and all(a <= b for a, b in zip(first, second, strict=True))
