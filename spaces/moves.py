"""What leads from one architecture of a bound space to others, and how far it is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.distance import distance
from peftnas.spaces.operators import Operators
from peftnas.spaces.tree import Point

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

Given = TypeVar("Given", Architecture, Point)
"""What is given is what comes: points stay points, fit for ``replay``."""


class Moves:
    """The part of :class:`~peftnas.spaces.bound_space.BoundSpace` that goes from one to others.

    What a change is and what is filled in: :mod:`peftnas.spaces.operators`.
    """

    def point(self, given: Architecture | Point) -> Point:
        """The point itself, checked, or a point of the space that gives an architecture.

        Raises:
            ValueError: if it is outside of the space, with the rule that it breaks.
        """
        bound = self._bound
        found = bound.replay(given.values) if isinstance(given, Point) else bound.find(given)
        if found is None:
            broken = bound.why_not(cast("Architecture", given))
        else:
            broken = bound.broken_constraint(found.architecture)
        if found is None or broken is not None:
            raise ValueError(f"only what is inside of the space can be changed: {broken}")
        return found

    def neighbours(self, given: Given) -> list[Given]:
        """All distinct others of the space that one change of one dimension gives.

        Args:
            given: canonical architectures come for an architecture. For points come points; this
                is faster, since no point has to be found.
        Raises:
            ValueError: if it is outside of the space, with the rule that it breaks.
        """
        found = self._operators.neighbours(self.point(given))
        return [self._as_given(given, point) for point in found]

    def mutate(self, parent: Given, seed: int, rate: float | None = None) -> Given:
        """The parent with one random change, or with several.

        Args:
            parent: as in :meth:`neighbours`.
            seed: the same seed gives the same child.
            rate: chance of each active dimension to change, in (0, 1]; ``None``: just one does.
        Returns:
            Of another ``train_key``, or with other training settings; the parent itself where
            nothing else was found.
        Raises:
            ValueError: as :meth:`neighbours`, or if the rate is not in (0, 1].
        """
        child = self._operators.mutate(self.point(parent), random.Random(seed), rate)
        return self._as_given(parent, child)

    def crossover(self, a: Given, b: Given, seed: int) -> Given:
        """A child that has each dimension that both parents have from one of them.

        Args:
            a, b: as in :meth:`neighbours`, of one type.
            seed: the same seed gives the same child.
        Raises:
            ValueError: as :meth:`neighbours`.
        """
        one, other = self.point(a), self.point(b)
        return self._as_given(a, self._operators.crossover(one, other, random.Random(seed)))

    def distance(self, a: Architecture | Point, b: Architecture | Point) -> float:
        """How much differs of what two architectures put on the backbone, in [0, 1].

        A metric, 0 for equal ``train_key`` only, see :mod:`peftnas.spaces.distance`. They need not
        be in the space.
        """
        one, other = (x.architecture if isinstance(x, Point) else x for x in (a, b))
        placed = self._bound.placed
        return distance(placed(one).placements, placed(other).placements)

    def active(
        self, given: Point | Architecture | Sequence[float] | NDArray[Any]
    ) -> NDArray[np.bool_]:
        """Which columns of a vector matter.

        Args:
            given: a point, an architecture or a vector, in which the other columns may hold
                anything, NaN among it.
        Returns:
            Shape (len(dimensions()),), bool; for a point and an architecture where
            :meth:`encode` has no NaN.
        Raises:
            ValueError: as :meth:`encode` or :meth:`decode`.
        """
        if not isinstance(given, Point | Architecture):
            given = self._bound.decode(given)
        return ~np.isnan(self._bound.encode(given))

    def _as_given(self, given: Given, point: Point) -> Given:
        canonical = self._bound.canonical
        like: Any = point if isinstance(given, Point) else canonical(point.architecture)
        found: Given = like
        return found

    @cached_property
    def _operators(self) -> Operators:
        return Operators(self._bound)

    @property
    def _bound(self) -> BoundSpace:
        return cast("BoundSpace", self)
