"""Every architecture of a space is found in it again, groups of layers and ties included."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from peftnas.spaces import (
    ByGroup,
    Choice,
    Grouped,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    SearchSpace,
    Shared,
    Subset,
    Switch,
)
from peftnas.spaces.choosers import at_random
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy

SIZE = Shared("size", Integer(0, 2))
PLUS = Shared("plus", Integer(1, 2))
SIZES = Shared("sizes", PerLayer(Choice(0, 1, 2)))
WIDE = Shared("wide", Choice(False, True))
CUT = Shared("cut", Choice("increasing", "decreasing"))
TARGETS = Shared("targets", Subset("query", "key", min_size=0))
TUNED = Shared("tuned", Subset(0, 1, min_size=0))

# points of the rest of the space are too many to look at each
MANY = Soft(length=Integer(1, 3000))


def _some(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


RANKS = _some(
    SIZE,
    PLUS,
    SIZES,
    1,
    Integer(0, 2),
    Switch(WIDE, {False: 1, True: Choice(0, 2)}),
    Switch(WIDE, {False: SIZE, True: 2}),
    PerGroup(2, Choice(0, 2), CUT),
    ByGroup(1, 2, grouping=CUT),
    ByGroup(0, 1),
    PerLayer(Integer(0, 1)),
    Choice(SIZE, 2),
    Choice(SIZE, PerLayer(Choice(0, 2))),
)
BOXES = st.builds(
    Box,
    rank=RANKS,
    site=_some("ffn", Choice("attention", "ffn"), Switch(WIDE, {False: "ffn", True: "attention"})),
    activation=_some("relu", PerLayer(Choice("relu", "gelu"))),
)
LOWS = st.builds(
    Low,
    rank=RANKS,
    targets=_some(("query",), TARGETS, Subset("query", "key"), PerLayer(Subset("query", "key"))),
)
SPANS = st.builds(Span, length=_some(SIZE, 2, Integer(0, 2)), shared=_some(False, WIDE))
BIASES = st.builds(Bias, targets=_some(("query",), TARGETS, ("query", "key")))
METHODS = st.one_of(BOXES, LOWS, SPANS, BIASES)


@st.composite
def grouped_spaces(draw: st.DrawFn) -> SearchSpace:
    """A space with a ``Grouped`` item whose methods share draws, among them and with others."""
    methods = draw(st.lists(METHODS, min_size=1, max_size=3))
    by_layer = draw(st.booleans())
    tuned = (
        _some(None, Subset.of_layers(min_size=0), Subset.of_layers(min_size=2))
        if by_layer
        else _some(None, Subset(0, 1), Subset(0, 1, min_size=0), TUNED, Subset(1))
    )
    item = Grouped(
        *methods,
        n=None if by_layer else 2,
        grouping="uniform"
        if by_layer
        else draw(_some("uniform", CUT, Choice("uniform", "increasing"))),
        tuned=draw(tuned),
        min_size=draw(st.integers(0, len(methods))),
        draw_all=draw(st.booleans()),
    )
    other = draw(st.none() | st.one_of(METHODS, METHODS.map(Maybe)))
    others = [] if other is None else [other]
    items = draw(st.permutations([item, *others]))
    return SearchSpace(*items, MANY)


@settings(deadline=None)
@given(
    grouped_spaces(),
    _some(ToyAnatomy(3), ToyAnatomy(4, decoder=2)),
    st.integers(0, 2**32),
)
def test_what_a_space_draws_is_found(space: SearchSpace, anatomy: ToyAnatomy, seed: int) -> None:
    bound = space.bind(anatomy)
    point = bound.draw(at_random(random.Random(seed)))
    found = bound.find(bound.canonical(point.architecture))
    assert found is not None
    assert bound.train_key(found.architecture) == bound.train_key(point.architecture)
    assert bound.replay(found.values) == found
