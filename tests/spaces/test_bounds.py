"""A size that is not exact says so, and why."""

from __future__ import annotations

from typing import Any

import pytest

from peftnas.spaces import (
    Choice,
    Grouped,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    SearchSpace,
    Shared,
    Size,
    Subset,
    forbid,
    max_stored_bytes,
    max_train_memory_bytes,
)
from peftnas.spaces.bounds import ROUNDED
from tests.spaces.toy import Box, Low, Soft, ToyAnatomy

RANKS: Any = Integer(1, 30)
WIDTHS = Shared("width", PerLayer(RANKS))
LAYERS = Subset.of_layers(max_size=2)
TUNED = Shared("tuned", Subset(0, 1))

BOUNDED = {
    "bytes": (
        SearchSpace(Box(rank=PerLayer(RANKS)), constraints=[max_stored_bytes("9kB")]),
        '"at most 9kB to store" can only be told of whole architectures',
    ),
    "memory": (
        SearchSpace(Box(rank=PerLayer(RANKS)), constraints=[max_train_memory_bytes("9kB")]),
        '"at most 9kB of memory to train" can only be told of whole architectures',
    ),
    "relation": (
        SearchSpace(
            Box(rank=PerLayer(RANKS)),
            Low(rank=PerLayer(RANKS)),
            constraints="toy_low.rank <= toy_box.rank",
        ),
        '"toy_low.rank <= toy_box.rank" compares what differs by layer',
    ),
    "forbidden": (
        SearchSpace(
            Box(rank=PerGroup(2, RANKS)),
            Low(rank=PerGroup(2, RANKS)),
            constraints=[forbid({"toy_box.rank": 3, "toy_low.rank": 2})],
        ),
        '"never toy_box.rank = 3 with toy_low.rank = 2" compares what differs by layer',
    ),
    "shared by layer": (
        SearchSpace(Box(rank=WIDTHS), Maybe(Low(rank=WIDTHS))),
        "width is drawn for each layer and shared by 2 fields",
    ),
    "largest number of layers": (
        SearchSpace(Box(rank=RANKS, layers=LAYERS), Maybe(Low(rank=PerLayer(RANKS)))),
        "toy_box.layers has a largest number of layers",
    ),
    "shared groups": (
        SearchSpace(Grouped(Box(rank=PerLayer(RANKS)), Low(rank=RANKS), n=2, tuned=TUNED)),
        "groups.tuned is shared",
    ),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_say_why(name: str) -> None:
    space, why = BOUNDED[name]
    bound = space.bind(ToyAnatomy(4), train_memory_bytes=lambda one: 100.0 * len(repr(one)))
    size = bound.size()
    assert not size.exact and size.low < size.high and size.why == why
    assert str(size) == f"between {size.low:,} and {size.high:,} (bounds, since {why})"
    with pytest.raises(ValueError, match="only an exact size is a number"):
        int(size)


def test_what_is_counted_exactly_gives_no_reason() -> None:
    bound = SearchSpace(
        Box(rank=Choice(1, 2)), Low(rank=RANKS), constraints="toy_low.rank <= toy_box.rank"
    ).bind(ToyAnatomy(4))
    assert (bound.size(), bound.size().why, str(bound.size())) == (3, "", "3")


def test_rounded_numbers_of_parameters_are_bounds_too() -> None:
    assert str(Size(1, 2, (), ROUNDED)) == (
        "between 1 and 2 (bounds, since numbers of parameters are too many and were rounded)"
    )


def test_points_of_a_bounded_space() -> None:
    bound = BOUNDED["bytes"][0].bind(ToyAnatomy(4))
    raw = bound.raw_size()
    assert raw.why == BOUNDED["bytes"][1] and raw.high == 30**4
    assert all(size.exact or size.why for size in bound.sizes([0, 500, 10_000]))


def test_soft_prompts_alone_are_listed() -> None:
    space = SearchSpace(Soft(length=Integer(1, 50)), constraints=[max_stored_bytes("1kB")])
    assert space.bind(ToyAnatomy(4)).size() == 25
