"""Spaces with fewer constraints, which can be counted where the whole space cannot."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from peftnas.spaces.constraints import Constraint
from peftnas.spaces.sizes.assign import Unstructured
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.reals import reals_matter

if TYPE_CHECKING:
    from peftnas.spaces.bound_space import BoundSpace

_TRIES = 32

Bounds = tuple[int, int]


class Relaxed:
    """Upper bounds of a space: its size with as few constraints left out as it takes.

    Args:
        bound: a space that cannot be counted as it is.
    """

    def __init__(self, bound: BoundSpace) -> None:
        self._found = list(_countable(bound))

    def distinct(self, budget: int | None) -> list[int]:
        """Upper bounds of the architectures within a budget."""
        return [census.distinct(budget if exact else None)[1] for census, exact in self._found]

    def raw(self, budget: int | None) -> list[int]:
        """The same of points."""
        return [census.raw(budget if exact else None)[1] for census, exact in self._found]


def _countable(bound: BoundSpace) -> Iterator[tuple[Census, bool]]:
    """Each largest set of constraints with which a space can be counted, under budgets too or not.

    Without a constraint there is no more than without it and others: the smallest size is among
    these.
    """
    constraints = bound.space.constraints
    sets = (
        frozenset(left_out)
        for number in range(1, len(constraints) + 1)
        for left_out in itertools.combinations(range(len(constraints)), number)
    )
    done: list[frozenset[int]] = []
    for left_out in [*itertools.islice(sets, _TRIES), frozenset(range(len(constraints)))]:
        if any(left_out >= fewer for fewer in done):
            continue
        kept = [one for i, one in enumerate(constraints) if i not in left_out]
        fewer = _with(bound, kept)
        try:
            census = Census(fewer)
            census.distinct(None), census.raw(None)
        except Unstructured:
            continue
        done.append(left_out)
        yield census, not reals_matter(fewer)


def _with(bound: BoundSpace, constraints: list[Constraint]) -> BoundSpace:
    """The same space under other constraints."""
    space = bound.space
    other = type(space)(
        *space.items,
        gate=space.gate,
        max_parameters=space.max_parameters,
        at_least_one_method=space.at_least_one_method,
        constraints=constraints,
    )
    return type(bound)(other, bound.anatomy, bound.train_memory_bytes)
