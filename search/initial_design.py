"""The first trials of a study, spread evenly over the logarithm of trainable parameters.

Random points crowd at the large end of a space: few of them are cheap, and a short study would end
with a front over one decade. Counts are known before training, so a sampler that starts from
random points gets its first ones by count instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice

from peftnas.search.distributions import Draw
from peftnas.search.limits import Limits
from peftnas.search.seeds import child_seed
from peftnas.spaces import Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.training_settings import untrained_architecture

_POOL = 300
"""Random points that the design chooses from."""


class InitialDesign:
    """Chooses the first points of a study.

    Args:
        bound: the space on its backbone; counts the points.
        limits: of the study; what breaks one is never chosen.
        seed: of the study; the same seed gives the same points.
        size: how many points it has.
    """

    def __init__(self, bound: BoundSpace, limits: Limits, seed: int, size: int) -> None:
        self.size = size
        self._bound = bound
        self._limits = limits
        self._seed = child_seed(seed, "initial design")

    def point(self, index: int, new: Callable[[Draw], bool]) -> Draw | None:
        """The point with the 0-based ``index``: the cheapest, the largest, then in between.

        Args:
            index: how many trials of the study were accepted before.
            new: whether a point may be trained and was not yet.
        Returns:
            ``None`` behind the last point, or where no random point is left.
        """
        if index >= self.size:
            return None
        if not self._pool:
            return None
        low, high = self._pool[0][0], self._pool[-1][0]
        wanted = low + (high - low) * next(islice(levels(), index, None))
        # nearest first, so that few of them have to be asked about: predictions take long
        nearest = sorted(self._pool, key=lambda pair: abs(pair[0] - wanted))
        return next((draw for _, draw in nearest if new(draw)), None)

    @cached_property
    def _pool(self) -> list[tuple[float, Draw]]:
        """Random points within the exact limits with the logarithm of their count, ascending.

        No architecture stands twice: another learning rate would not spread the counts.
        """
        drawn = islice(self._limits.candidates(self._seed), _POOL)
        within: dict[Architecture, Draw] = {}
        for draw in drawn:
            if self._limits.broken_exactly(draw) is None:
                canonical = self._bound.canonical(draw.architecture)
                within.setdefault(untrained_architecture(canonical), draw)
        counts = [(self._bound.count(architecture), draw) for architecture, draw in within.items()]
        # a bare head has no place on a logarithmic axis, and is a baseline anyway
        pool = [(math.log(count), draw) for count, draw in counts if count]
        return sorted(pool, key=lambda pair: pair[0])


def levels() -> Iterator[float]:
    """0, 1, 1/2, 1/4, 3/4, 1/8, ...: any first n of them lie well spread over [0, 1]."""
    yield from (0.0, 1.0)
    step = 0.5
    while True:
        yield from (step * odd for odd in range(1, round(1 / step), 2))
        step /= 2
