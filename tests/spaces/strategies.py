"""Random small search spaces over the toy methods, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from peftnas.spaces import Choice, Integer, Maybe, PerGroup, PerLayer, SearchSpace, Subset
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy


def _some(*domains: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(domains)


_LAYERS = _some(
    None,
    (0,),
    (0, 1),
    Subset.of_layers(),
    Subset.of_layers(min_size=2),
    Subset.of_layers(min_size=0),
    Subset(0, 1),
    Choice(None, (0,)),
    Choice(None, Subset.of_layers()),
    Choice((0, 1), Subset.of_layers(min_size=2)),
)
_RANKS = _some(
    1,
    Integer(0, 2),
    Integer(1, 3, log=True),
    Choice(0, 4),
    Choice(2, Integer(1, 2)),
    PerLayer(Integer(0, 1)),
    PerLayer(Choice(1, 2)),
    PerGroup(2, Choice(0, 1)),
    PerGroup(2, Integer(1, 2)),
    Choice(2, PerLayer(Choice(1, 2))),
)
BOXES = st.builds(
    Box,
    rank=_RANKS,
    site=_some("ffn", Choice("attention", "ffn", "both")),
    style=_some("serial", Choice("serial", "parallel")),
    placement=_some("a", Choice("a", "b")),
    activation=_some("relu", Choice("relu", "gelu"), PerLayer(Choice("relu", "gelu"))),
    scale=_some(1.0, Choice(1, 1.0, 2.0)),
    layers=_LAYERS,
)
LOWS = st.builds(
    Low,
    rank=_RANKS,
    targets=_some(
        ("query",),
        Subset("query", "key", "value"),
        Subset("query", "value", min_size=0),
        Choice(("query", "value"), ("query",)),
        PerLayer(Subset("query", "key")),
    ),
    layers=_LAYERS,
)
SPANS = st.builds(
    Span, length=_some(2, Integer(0, 2)), shared=_some(False, Choice(False, True)), layers=_LAYERS
)
BIASES = st.builds(
    Bias,
    targets=_some(
        ("query", "embeddings"),
        ("query", "key"),
        Subset("query", "key", "embeddings"),
        Subset("key", "embeddings", min_size=0),
    ),
    layers=_LAYERS,
)
SOFTS = st.builds(Soft, length=_some(2, Integer(0, 2)))
METHODS = st.one_of(BOXES, LOWS, SPANS, BIASES, SOFTS)
GATED = (Box, Low, Span)


def _choice(options: list[Any]) -> Choice:
    return Choice(*options)


ITEMS = st.one_of(
    METHODS,
    METHODS.map(Maybe),
    st.lists(st.one_of(METHODS, st.none()), min_size=2, max_size=2, unique=True).map(_choice),
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """A space of one to three items, with or without gate, budget and bare head."""
    items = draw(st.lists(ITEMS, min_size=1, max_size=3))
    gated = any(type(leaf) in GATED for item in items for leaf in _methods(item))
    return SearchSpace(
        *items,
        gate=draw(_some(None, Choice(None, "unipelt"), "unipelt")) if gated else None,
        max_parameters=draw(_some(None, 60, 150, "20%")),
        at_least_one_method=draw(st.booleans()),
    )


def _methods(item: Any) -> list[Any]:
    if isinstance(item, Maybe):
        return _methods(item.content)
    return list(item.options) if isinstance(item, Choice) else [item]


ANATOMIES = st.builds(ToyAnatomy, n_layers=st.integers(2, 3))
