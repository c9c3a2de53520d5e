"""All points of a small space, one walk each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from peftnas.spaces.domains import Choice, Integer, Real
from peftnas.spaces.tree import Ask, Choose, Point

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

T = TypeVar("T")


def walks(run: Callable[[Choose], T]) -> Iterator[T]:
    """``run`` once for every way to answer its questions; a ``Real`` stands at its low end only.

    Args:
        run: calls its argument, as a walk does, with path and domain; questions may depend on
            earlier answers.
    """
    prefix: list[int] = []
    while True:
        sizes: list[int] = []
        yield run(_chooser(prefix, sizes))
        indices = prefix + [0] * (len(sizes) - len(prefix))
        while indices and indices[-1] + 1 >= sizes[len(indices) - 1]:
            indices.pop()
        if not indices:
            return
        indices[-1] += 1
        prefix = indices


def all_points(bound: BoundSpace, limit: int) -> list[Point] | None:
    """All points, constraints aside, when there are at most ``limit`` of them, else ``None``."""
    points = list(islice(walks(bound.draw), limit + 1))
    return points if len(points) <= limit else None


def _chooser(prefix: list[int], sizes: list[int]) -> Choose:
    """Takes the options numbered in ``prefix``, then first ones; notes how many there were."""

    def choose(path: str, domain: Ask) -> Any:
        index = prefix[len(sizes)] if len(sizes) < len(prefix) else 0
        match domain:
            case Real():
                sizes.append(1)
                return domain.low
            case Integer():
                sizes.append(len(domain))
                return domain.low + index * domain.step
            case Choice():
                sizes.append(len(domain.options))
                return domain.options[index]

    return choose
