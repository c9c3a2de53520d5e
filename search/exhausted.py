"""All points of a study one after the other: to know whether any is left to train."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from peftnas.search.distributions import Draw, draw
from peftnas.search.recipe import Recipe
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.domains import Integer, Real
from peftnas.spaces.tree import Ask, Choose, Primitive


def enumerate_draws(bound: BoundSpace, recipe: Recipe) -> Iterator[Draw]:
    """Every point in the order of the walk, constraints aside; a ``Real`` takes its ends only.

    Each walk gives the answers of the one before up to the last question that has another answer
    left, takes that, and then first answers.
    """
    taken: list[int] = []
    while True:
        sizes: list[int] = []
        yield draw(bound, recipe, _following(taken, sizes))
        taken = taken + [0] * (len(sizes) - len(taken))
        while taken and taken[-1] + 1 == sizes[len(taken) - 1]:
            taken.pop()
        if not taken:
            return
        taken[-1] += 1


def _following(taken: Sequence[int], sizes: list[int]) -> Choose:
    """Answers by number from ``taken``, then first ones; notes how many answers there were."""

    def choose(path: str, domain: Ask) -> Primitive:
        values = _values(domain)
        position = len(sizes)
        sizes.append(len(values))
        return values[taken[position] if position < len(taken) else 0]

    return choose


def _values(domain: Ask) -> Sequence[Primitive]:
    match domain:
        case Integer():
            return range(domain.low, domain.high + 1, domain.step)
        case Real():
            return (domain.low, domain.high)
        case _:
            return domain.options
