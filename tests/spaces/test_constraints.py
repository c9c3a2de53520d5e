"""Constraints compare and store values exactly, and refuse what cannot be meant."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peftnas.spaces import (
    Architecture,
    Choice,
    Grouped,
    Integer,
    Maybe,
    Real,
    SearchSpace,
    at_least,
    forbid,
    relation,
)
from peftnas.spaces.constraints import constraint_from_dict
from peftnas.spaces.relations import Forbid, Relation
from tests.spaces.toy import Box, Low, Soft, Span, ToyAnatomy

TOY = ToyAnatomy(4)


@pytest.mark.parametrize(
    "constraint",
    [
        relation("toy_low.targets == ['query']"),
        relation("toy_box.gate != unipelt"),
        relation("toy_box.rank<=3"),
        forbid({"toy_box.rank": [1, 2]}),
        forbid({"toy_low.targets": [["query"]]}),
        forbid("toy_low", {"toy_box.layers": (None, ())}),
        at_least(2, "methods"),
    ],
)
def test_constraints_are_values(constraint: Any) -> None:
    space = SearchSpace(Box(), Low(), constraints=constraint)
    assert space == SearchSpace(Box(), Low(), constraints=[constraint])
    again = SearchSpace.from_dict(json.loads(json.dumps(space.to_dict())))
    assert again == space and hash(again) == hash(space)


def test_a_list_of_values_is_a_tuple_of_them() -> None:
    assert forbid({"toy_box.rank": [1, 2]}) == forbid({"toy_box.rank": (1, 2)})
    space = SearchSpace(Box(rank=Integer(1, 3)), constraints=forbid({"toy_box.rank": [1, 2]}))
    assert space.bind(TOY).size().low == 1


def test_whole_numbers_and_fractions_are_equal_and_truth_values_are_none() -> None:
    scaled = SearchSpace(Box(scale=Choice(1.0, 2.0)), constraints=forbid({"toy_box.scale": 1}))
    assert not scaled.bind(TOY).contains(Architecture(Box(scale=1.0)))
    same = SearchSpace(
        Box(rank=1), Span(shared=True), constraints="toy_box.rank == toy_span.shared"
    )
    broken = same.bind(TOY).broken_constraint(Architecture(Box(rank=1), Span(shared=True)))
    assert broken == "toy_box.rank == toy_span.shared must hold, got 1 and True"


def test_the_most_methods_of_a_space() -> None:
    items = (Choice(Box(), Soft(), None), Maybe(Grouped(Box(), Low(), n=2)))
    assert SearchSpace(*items, constraints=[at_least(3, "methods")]).bind(TOY).sample(0).methods
    with pytest.raises(ValueError, match="ask for at least 4 methods, got a space of 3 at most;"):
        SearchSpace(*items, constraints=[at_least(4, "methods")])


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        ("toy_span.shared == 1", r"toy_span.shared must be one of .*, got 1"),
        ("toy_box.rank == True", "toy_box.rank must be a whole number >= 0, got True"),
        ("toy_box.rank >= True", "must compare with a number or a field, got True"),
        ("toy_box.rank <= toy_low.targets", "compare numbers by <=, got 'toy_low.targets'"),
        ("toy_box.style < 3", "compare numbers by <, got 'toy_box.style'"),
        ("toy_low.targets == query", r"toy_low.targets must be a tuple .*write \('query',\)"),
        ("toy_box.scale == toy_low", r"got 'toy_low', a method; .*as in toy_low\.rank"),
        (forbid({"toy_span.shared": 1}), "forbid: toy_span.shared must be one of .*, got 1"),
        (forbid({"toy_box.layers": (0, 1)}), r"is one value; write {.*: \(\(0, 1\),\)}"),
        (forbid({"toy_box.layers": (0,)}), r"is one value; write {.*: \(\(0,\),\)}"),
        ({"toy_box.rank": 1}, "constraints must be a list .*got {'toy_box.rank': 1}"),
        (3, "constraints must be a list .*got 3"),
    ],
)
def test_what_a_space_refuses(constraint: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace(Box(scale=Real(1, 2)), Low(), Span(), constraints=constraint)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: relation(5), "a relation must read .*got 5; write it as a text"),  # type: ignore[arg-type]
        (lambda: relation("a.b <= 1e999"), "constraint .* must compare with .*got inf"),
        (lambda: Relation("a.b", "==", {1}), "constraint .* must compare with .*got {1}"),
        (lambda: forbid(5), "forbid takes methods .*got 5; name a method"),  # type: ignore[arg-type]
        (lambda: forbid(Box()), 'write "toy_box"'),  # type: ignore[arg-type]
        (lambda: forbid({"a.b": ()}), r"forbid a.b needs a value .*got \(\)"),
        (lambda: forbid({"a.b": {1, 2}}), r"forbid a.b needs a value .*got {1, 2}"),
        (lambda: forbid({5: 1}), "forbid takes the values of METHOD.FIELD, got 5"),  # type: ignore[dict-item]
        (lambda: Forbid(("a.b",), ()), r"together with its value, got 'a.b'; write"),
    ],
)
def test_what_a_constraint_refuses(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"a constraint is an object, got \[\]; take"),
        ({"constraint": []}, r"must be one of at_least, .*got \[\]"),
        ({"constraint": "relation", "lefft": 1}, "has the fields left, sign, right, got lefft"),
        ({"constraint": "at_least"}, "has the fields number, of, got none"),
    ],
)
def test_damaged_data(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        constraint_from_dict(data)


def test_a_backbone_with_too_few_layers() -> None:
    space = SearchSpace(Box(), constraints=at_least(5, "layers"))
    with pytest.raises(ValueError, match="ask for at least 5 layers, got a backbone of 4; lower"):
        space.bind(TOY)
