"""What is asked of a bound space as a whole: how large it is, and draws that know it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.bounds import ROUNDED, why_bounds
from peftnas.spaces.budget import check_budget, resolve_budget
from peftnas.spaces.domains import Real
from peftnas.spaces.feasible import feasible_point
from peftnas.spaces.sampling import stratified
from peftnas.spaces.sampling import uniform as uniform_within
from peftnas.spaces.sizes.counting import Counting, Drawer, Loose, counting
from peftnas.spaces.sizes.size import Size
from peftnas.spaces.training_settings import without_training

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace


class WholeSpace:
    """The part of :class:`~peftnas.spaces.bound_space.BoundSpace` that looks at all of it."""

    def size(self, max_parameters: int | str | None = None) -> Size:
        """Number of distinct architectures (``train_key``) that meet every constraint.

        Training settings of methods are no part of them: they are not counted. Exact, or bounds
        that say ``why``: under limits on stored bytes or memory, or constraints on two fields that
        both differ by layer, architectures are not counted without looking at each.

        Args:
            max_parameters: a further budget, as the space takes one.
        """
        return self._sized(self._counting.distinct, max_parameters)

    def sizes(self, budgets: Sequence[int | str]) -> list[Size]:
        """:meth:`size` under several budgets, in their order.

        Args:
            budgets: each as a space takes one, or 0.
        """
        limits = [0 if _is_zero(budget) else self._limit(budget) for budget in budgets]
        return [self._size(bounds) for bounds in self._counting.cumulated(limits)]

    def raw_size(self, max_parameters: int | str | None = None) -> Size:
        """Number of points that meet every constraint: assignments of the active dimensions.

        Exact or bounds, as :meth:`size`.

        Args:
            max_parameters: a further budget, as the space takes one.
        """
        return self._sized(self._counting.raw, max_parameters)

    def parameter_range(self, *, placing: bool = False) -> tuple[int, int]:
        """Fewest and most trainable parameters of an architecture that meets every constraint.

        Where ``size`` is exact, these are too, or where there are too many different counts, they
        hold as bounds; otherwise they are the ends of what was found by descent and by sampling.

        Args:
            placing: of architectures that train any.
        Raises:
            ValueError: if no architecture meets the constraints.
        """
        known = self._counting.parameters(placing)
        if known is not None:
            return known
        counts = [self._bound.count(self._bound.sample(0))]
        around = self._counting.around(placing)
        if around is not None:
            return around
        counts += [self._bound.count(self._bound.sample(seed)) for seed in range(1, 100)]
        counts.append(self._bound.count(feasible_point(self._bound).architecture))
        counts = [count for count in counts if count or not placing] or [0]
        return min(counts), max(counts)

    def uniform(self, n: int, seed: int) -> list[Architecture]:
        """Random canonical architectures, each of the space equally likely, however it is drawn.

        What is not counted is drawn from its domain, apart from all else: every ``Real`` (in the
        logarithm with ``log``) and the training settings of methods.

        Args:
            n: how many, at least 0; one may come more than once.
            seed: the same seed gives the same architectures.
        Raises:
            ValueError: if the space is too entangled to tell its architectures apart, or hardly
                one of them meets the constraints.
        """
        return uniform_within(self._bound, n, random.Random(seed), 0, self._bound.max_parameters)

    def stratified(self, n: int, seed: int, strata: int = 10) -> list[Architecture]:
        """Random canonical architectures, spread evenly over the logarithm of their parameters.

        The range of parameters is cut into ``strata`` of one ratio; each that has architectures
        gets as many draws as the others (to within one), and in each all are equally likely, as in
        :meth:`uniform`.

        Args:
            n: how many, at least 0, strata with fewer parameters first.
            seed: the same seed gives the same architectures.
            strata: at least 1.
        Raises:
            ValueError: as :meth:`uniform`.
        """
        return stratified(self._bound, n, seed, strata)

    def drawer(self, low: int, high: int | None) -> Drawer:
        """Draws architectures with about so many parameters, see :mod:`peftnas.spaces.sampling`.

        Args:
            low: least of them.
            high: most; ``None``: no limit.
        Raises:
            ValueError: if the space is too entangled to tell its architectures apart.
        """
        found = self._counting.drawer(low, high)
        if found is None:
            raise ValueError(
                "only a space whose architectures can be counted exactly is drawn uniformly, got "
                f"one with {self.size()} of them; use sample(seed), or drop the constraint or the "
                "items that depend on each other"
            )
        return found

    @cached_property
    def _counting(self) -> Counting:
        return counting(self._bound)

    def _sized(self, number: Callable[[int | None], tuple[int, int]], budget: Any) -> Size:
        limit = self._bound.max_parameters if budget is None else self._limit(budget)
        return self._size(number(limit))

    def _limit(self, budget: Any) -> int:
        """A further budget in trainable parameters, or that of the space where it is lower."""
        check_budget(budget)
        limit = resolve_budget(budget, self._bound.anatomy.backbone_parameters)
        if limit is None:
            raise ValueError(
                'budgets must be numbers of parameters or percentages such as "2%", got None; '
                "use size() for no further budget"
            )
        most = self._bound.max_parameters
        return limit if most is None else min(limit, most)

    def _size(self, bounds: tuple[int, int]) -> Size:
        if bounds[0] == bounds[1]:
            return Size(*bounds, self._reals)
        return Size(*bounds, self._reals, self._why)

    @cached_property
    def _why(self) -> str:
        return why_bounds(self._bound) if isinstance(self._counting, Loose) else ROUNDED

    @cached_property
    def _reals(self) -> tuple[str, ...]:
        listed = without_training(self._bound).dimensions()
        return tuple(one.path for one in listed if isinstance(one.domain, Real))

    @property
    def _bound(self) -> BoundSpace:
        return cast("BoundSpace", self)


def _is_zero(budget: object) -> bool:
    return budget == 0 and not isinstance(budget, bool)
