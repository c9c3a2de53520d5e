"""Distributions combined: all sums at once against one by one."""

from __future__ import annotations

import random

import pytest

from peftnas.spaces.sizes.tally import Distribution, combine


def _one_by_one(one: Distribution, other: Distribution, budget: int | None) -> Distribution:
    total: Distribution = {}
    for a, n in one.items():
        for b, m in other.items():
            if budget is None or a + b <= budget:
                total[a + b] = total.get(a + b, 0) + n * m
    return total


@pytest.mark.parametrize("step", [1, 768])
@pytest.mark.parametrize("budget", [None, 0, 50, 60 * 768 + 5])
@pytest.mark.parametrize("digits", [1, 90])
def test_dense_counts_are_combined_exactly(step: int, budget: int | None, digits: int) -> None:
    rng = random.Random(0)
    one, other = (
        {step * count: rng.randrange(1, 10**digits) for count in range(low, 120)} for low in (0, 7)
    )
    assert combine(one, other, budget) == _one_by_one(one, other, budget)


def test_sparse_counts_are_combined_exactly() -> None:
    rng = random.Random(0)
    one, other = ({rng.randrange(10**9): 1 for _ in range(60)} for _ in range(2))
    assert combine(one, other, None) == _one_by_one(one, other, None)
