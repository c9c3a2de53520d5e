"""Random small search spaces over the toy methods, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from peftnas.spaces import (
    ByGroup,
    Choice,
    Grouped,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    Real,
    SearchSpace,
    Shared,
    Subset,
    Switch,
    at_least,
    forbid,
)
from peftnas.spaces.space_checks import methods_in, most_methods
from tests.spaces.toy import Bias, Box, Low, Soft, Span, ToyAnatomy


def _some(*domains: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(domains)


WIDE = Shared("wide", Choice(False, True))
CUT = Shared("cut", Choice("increasing", "decreasing"))

_LAYERS = _some(
    None,
    (),
    Choice((), (0, 1)),
    Subset.of_layers(max_size=1),
    Subset.of_layers(min_size=0, max_size=2),
    Switch(WIDE, {False: (), True: None}),
    (0,),
    (0, 1),
    Subset.of_layers(),
    Subset.of_layers(min_size=2),
    Subset.of_layers(min_size=0),
    Subset(0, 1),
    Choice(None, (0,)),
    Choice(None, Subset.of_layers()),
    Choice((0, 1), Subset.of_layers(min_size=2)),
    Shared("where", Subset.of_layers(min_size=0)),
    Switch(WIDE, {False: (0,), True: Subset.of_layers()}),
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
    Shared("size", Integer(0, 2)),
    Shared("sizes", PerLayer(Integer(0, 1))),
    Switch(WIDE, {False: 1, True: PerLayer(Integer(0, 1))}),
    Switch(WIDE, {False: 1, True: Choice(0, 2)}),
    ByGroup(1, 2, grouping=CUT),
    Choice(3, ByGroup(0, 1)),
    PerGroup(2, Choice(0, 2), CUT),
)
BOXES = st.builds(
    Box,
    rank=_RANKS,
    site=_some("ffn", Choice("attention", "ffn", "both")),
    style=_some("serial", Choice("serial", "parallel")),
    placement=_some("a", Choice("a", "b")),
    activation=_some("relu", Choice("relu", "gelu"), PerLayer(Choice("relu", "gelu"))),
    scale=_some(1.0, Choice(1, 1.0, 2.0), Real(1.0, 2.0)),
    layers=_LAYERS,
)
LOWS = st.builds(
    Low,
    rank=_RANKS,
    targets=_some(
        ("query",),
        Subset("query", "key", "value"),
        Subset("query", "value", min_size=0),
        Subset("query", "key", "value", max_size=2),
        PerLayer(Subset("query", "key", min_size=0)),
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


def _everywhere(methods: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return methods.map(lambda method: method.replace(layers=None))


_IN_GROUPS = st.tuples(_everywhere(BOXES), _everywhere(st.one_of(LOWS, BIASES, SPANS)))
_SETS: dict[str, Any] = {
    "min_size": _some(0, 1),
    "max_size": _some(None, 1),
    "draw_all": st.booleans(),
}
GROUPED = st.one_of(
    st.builds(
        lambda methods, **fields: Grouped(*methods, n=2, **fields),
        _IN_GROUPS,
        grouping=_some("uniform", CUT),
        tuned=_some(
            None,
            Subset(0, 1),
            Subset(0, 1, min_size=0),
            Subset(0, 1, max_size=1),
            Shared("tuned", Subset(0, 1)),
        ),
        **_SETS,
    ),
    st.builds(
        lambda methods, **fields: Grouped(*methods, n=None, **fields),
        _IN_GROUPS,
        tuned=_some(None, Subset.of_layers(), Shared("where", Subset.of_layers(min_size=0))),
        **_SETS,
    ),
)
_OPTIONS = st.one_of(METHODS, st.none())
_CHOICES = st.lists(_OPTIONS, min_size=2, max_size=2, unique=True).map(_choice)
ITEMS = st.one_of(
    METHODS,
    METHODS.map(Maybe),
    _CHOICES,
    st.lists(st.one_of(METHODS, _CHOICES), min_size=2, max_size=2, unique=True).map(_choice),
)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """A space of one to three items, with or without gate, budget, constraints and bare head."""
    items = draw(
        st.lists(ITEMS, min_size=1, max_size=3)
        | st.lists(st.one_of(GROUPED, GROUPED.map(Maybe)), min_size=1, max_size=1)
        | st.tuples(GROUPED, METHODS).map(list)
    )
    methods = [method for item in items for method in methods_in(item)]
    kinds = sorted({method.kind for method in methods})
    gated = any(type(method) in GATED for method in methods)
    constraints: list[Any] = [
        at_least(1, "layers"),
        at_least(2, "layers"),
        forbid(*kinds[:2]),
    ]
    if sum(map(most_methods, items)) > 1:
        constraints.append(at_least(2, "methods"))
    if "toy_box" in kinds:
        constraints += [
            "toy_box.rank != 2",
            forbid({"toy_box.style": "serial"}, kinds[-1]),
            "toy_box.layers != None",
            "toy_box.scale <= 1.5",
        ]
    if "toy_low" in kinds:
        constraints.append(forbid({"toy_low.layers": ((0,), None)}))
    if {"toy_box", "toy_low"} <= set(kinds):
        constraints.append("toy_low.rank <= toy_box.rank")
    return SearchSpace(
        *items,
        gate=draw(_some(None, Choice(None, "unipelt"), "unipelt")) if gated else None,
        max_parameters=draw(_some(None, 60, 150, "20%")),
        at_least_one_method=draw(st.booleans()),
        constraints=draw(st.lists(st.sampled_from(constraints), max_size=2)),
    )


ANATOMIES = st.builds(ToyAnatomy, n_layers=st.integers(2, 3))
