"""The smallest point, found where one change at a time leads nowhere."""

from __future__ import annotations

import pytest

from peftnas.spaces import Integer, SearchSpace
from tests.spaces.toy import Box, Low, Span, ToyAnatomy


@pytest.mark.parametrize(
    ("constraints", "rank"),
    [
        (["toy_low.rank == toy_box.rank", "toy_box.rank >= 2"], 2),
        (["toy_low.rank == toy_box.rank", "toy_low.rank > 700"], 701),
        (
            [
                "toy_low.rank == toy_box.rank",
                "toy_box.rank == toy_span.length",
                "toy_box.rank >= 9",
            ],
            9,
        ),
    ],
)
def test_fields_that_must_be_equal_are_found(constraints: list[str], rank: int) -> None:
    sizes = Integer(1, 4000)
    space = SearchSpace(
        Box(rank=sizes), Low(rank=sizes), Span(length=sizes), constraints=constraints
    )
    bound = space.bind(ToyAnatomy())
    bound.check_feasible()
    found = bound.sample(0).methods
    assert [one.rank for one in found if hasattr(one, "rank")] == [rank, rank]
