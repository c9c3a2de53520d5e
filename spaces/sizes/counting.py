"""How many points and architectures a bound space has, and draws in which all are equally likely.

A small space is listed, a larger one counted by its structure; of what has none, there are bounds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.enumerate import all_points
from peftnas.spaces.sizes.assign import Unstructured, can_be_absent
from peftnas.spaces.sizes.at_least import at_least
from peftnas.spaces.sizes.at_most import at_most
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.parts import Part, parts, tied
from peftnas.spaces.sizes.reals import pinned, reals_matter
from peftnas.spaces.sizes.relaxed import Relaxed
from peftnas.spaces.training_settings import without_training
from peftnas.spaces.tree import Point

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_FEW = 2_000
_MANY = 20_000
_SAMPLES = 500

Bounds = tuple[int, int]


class Counting(Protocol):
    """What counts a space; bounds are equal where it does so exactly."""

    def distinct(self, budget: int | None) -> Bounds:
        """Architectures with so many trainable parameters or fewer that meet all constraints."""

    def cumulated(self, budgets: Sequence[int]) -> list[Bounds]:
        """:meth:`distinct` for several budgets."""

    def raw(self, budget: int | None) -> Bounds:
        """Points with so many trainable parameters or fewer that meet all constraints."""

    def parameters(self, placing: bool) -> Bounds | None:
        """Fewest and most of these parameters; ``None`` where they are not known.

        Args:
            placing: of architectures that place something.
        """

    def around(self, placing: bool) -> Bounds | None:
        """Bounds of these that hold; ``None`` where there are none.

        Args:
            placing: as of :meth:`parameters`.
        """

    def drawer(self, low: int, high: int | None) -> Drawer | None:
        """Draws architectures with so many parameters; ``None`` where none can be told apart."""


class Drawer(Protocol):
    """Draws architectures, each equally likely; some may break a constraint."""

    def draw(self, rng: random.Random) -> Architecture | None:
        """One of them; ``None`` if there are none."""


def counting(bound: BoundSpace) -> Counting:
    """The way to count a space: one by one when it is small, else by structure."""
    bound = without_training(bound)
    if reals_matter(bound):
        return Loose(bound)
    points = all_points(bound, _FEW) if at_least(bound) <= _FEW else None
    if points is not None:
        return Listing(bound, points)
    try:
        census = Census(bound)
        budget = bound.max_parameters
        exact = all(low == high for low, high in (census.distinct(budget), census.raw(budget)))
    except Unstructured:
        exact, census = False, None
    if exact and census:
        return census
    points = all_points(bound, _MANY)
    if points is not None:
        return Listing(bound, points)
    return census or Loose(bound)


class Listing:
    """A space of which every point was looked at."""

    def __init__(self, bound: BoundSpace, points: Iterable[Point]) -> None:
        self._found: dict[str, tuple[Architecture, int]] = {}
        self._raw: list[int] = []
        for point in points:
            if bound.broken_constraint(point.architecture) is None:
                count = bound.count(point.architecture)
                self._raw.append(count)
                self._found[bound.train_key(point.architecture)] = (point.architecture, count)

    def distinct(self, budget: int | None) -> Bounds:
        """See :class:`Counting`."""
        number = sum(budget is None or count <= budget for _, count in self._found.values())
        return number, number

    def cumulated(self, budgets: Sequence[int]) -> list[Bounds]:
        """See :class:`Counting`."""
        return [self.distinct(budget) for budget in budgets]

    def raw(self, budget: int | None) -> Bounds:
        """See :class:`Counting`."""
        number = sum(budget is None or count <= budget for count in self._raw)
        return number, number

    def parameters(self, placing: bool) -> Bounds | None:
        """See :class:`Counting`."""
        counts = [count for count in self._raw if count or not placing]
        return (min(counts), max(counts)) if counts else None

    def around(self, placing: bool) -> Bounds | None:
        """See :class:`Counting`."""
        return self.parameters(placing)

    def drawer(self, low: int, high: int | None) -> Drawer:
        """See :class:`Counting`."""
        most = math.inf if high is None else high
        return _Listed([one for one, count in self._found.values() if low <= count <= most])


class _Listed:
    def __init__(self, found: list[Architecture]) -> None:
        self._found = found

    def draw(self, rng: random.Random) -> Architecture | None:
        return rng.choice(self._found) if self._found else None


class Loose:
    """A space without the structure to count it: bounds.

    There are at least those seen in samples, or those of a smaller space whose items do not depend
    on each other; at most all points, or those of a space with fewer constraints.
    """

    def __init__(self, bound: BoundSpace) -> None:
        self._bound = bound
        points: dict[tuple[tuple[str, object], ...], int] = {}
        keys: dict[str, int] = {}
        for seed in range(_SAMPLES):
            point = bound.draw_valid(random.Random(seed))
            if point is not None:
                count, known = bound.count(point.architecture), pinned(bound, point)
                points[tuple(known.values.items())] = count
                keys[bound.train_key(known.architecture)] = count
        self._points, self._keys = points, keys
        self._relaxed = Relaxed(bound)

    def distinct(self, budget: int | None) -> Bounds:
        """See :class:`Counting`."""
        seen = sum(budget is None or count <= budget for count in self._keys.values())
        try:
            low = 0 if self._smaller is None else self._smaller.distinct(budget)[0]
        except Unstructured:
            low = 0
        return max(low, seen), min([self.raw(budget)[1], *self._relaxed.distinct(budget)])

    def cumulated(self, budgets: Sequence[int]) -> list[Bounds]:
        """See :class:`Counting`."""
        return [self.distinct(budget) for budget in budgets]

    def raw(self, budget: int | None) -> Bounds:
        """See :class:`Counting`."""
        bound = self._bound
        seen = sum(budget is None or count <= budget for count in self._points.values())
        if self._alone is None:
            return seen, min([at_most(bound), *self._relaxed.raw(budget)])
        free = budget is None and not bound.space.constraints and not tied(bound.nodes)
        low = self._alone if free and not bound.space.at_least_one_method else seen
        return low, min([self._alone, *self._relaxed.raw(budget)])

    @cached_property
    def _smaller(self) -> Census | None:
        """A smaller space whose items do not depend on each other."""
        try:
            return Census(self._bound, _apart(self._bound))
        except Unstructured:
            return None

    @cached_property
    def _alone(self) -> int | None:
        """Points where the items have nothing to do with each other, constraints aside."""
        alone = [Part((node,), True) for node in self._bound.nodes]
        try:
            return Census(self._bound, alone, constrained=False).raw(None)[1]
        except Unstructured:
            return None

    def parameters(self, placing: bool) -> None:
        """See :class:`Counting`."""

    def around(self, placing: bool) -> None:
        """See :class:`Counting`."""

    def drawer(self, low: int, high: int | None) -> None:
        """See :class:`Counting`."""


def _apart(bound: BoundSpace) -> list[Part]:
    """Groups of items that leave out what can be absent where items depend on each other."""
    groups = []
    for part in parts(bound):
        needed = tuple(node for node in part.nodes if not can_be_absent(node))
        some = part.nodes if part.apart else needed or part.nodes[-1:]
        groups.append(Part(some, part.apart or len(some) == 1))
    return groups
