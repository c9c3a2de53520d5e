"""Spaces and architectures survive JSON exactly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from peftnas.spaces import Architecture, ByLayer, Real, SearchSpace
from tests.spaces.strategies import ANATOMIES, spaces
from tests.spaces.toy import Box, Low, ToyAnatomy


@settings(deadline=None)
@given(spaces(), ANATOMIES)
def test_round_trip(space: SearchSpace, anatomy: ToyAnatomy) -> None:
    text = json.dumps(space.to_dict())
    again = SearchSpace.from_dict(json.loads(text))
    assert again == space
    assert json.dumps(again.to_dict()) == text
    architecture = space.bind(anatomy).draw(lambda _, domain: _last(domain)).architecture
    again_architecture = Architecture.from_json(architecture.to_json())
    assert again_architecture == architecture
    assert again_architecture.to_json() == architecture.to_json()


def test_form_of_an_architecture() -> None:
    architecture = Architecture(Low(rank=ByLayer({0: 8, 2: 1}), targets=("query", "value")))
    assert architecture.to_dict() == {
        "format": 1,
        "methods": [
            {
                "kind": "toy_low",
                "rank": {"by_layer": {"0": 8, "2": 1}},
                "targets": ["query", "value"],
                "layers": None,
                "gate": None,
            }
        ],
    }


def test_floats_stay_exact() -> None:
    space = SearchSpace(Box(scale=Real(0.1, 1 / 3)))
    assert SearchSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"format": 2, "methods": []}, "has format 1 .* got format 2"),
        ({"format": 1, "methods": [{"kind": "toy_bax"}]}, "got 'toy_bax'; import its module"),
        ({"format": 1, "methods": [{"kind": "toy_box", "rang": 1}]}, "fields .*, got rang; drop"),
        ({"format": 1, "methods": [{"by_leyer": {}}]}, "exactly one key of .*'by_leyer'"),
        ({"format": 1, "methods": [{"kind": "toy_box", "rank": -1}]}, "Box.rank must be"),
    ],
)
def test_unreadable_data_is_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Architecture.from_dict(data)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"integer": {"lo": 1}}, "a stored integer is an object with low, high, got {'lo': 1}"),
        ({"integer": 3}, "a stored integer is an object .*got 3"),
        ({"choice": 3}, "a stored choice is a list, got 3"),
        ({"by_layer": [1]}, r"a stored by_layer is an object by layer numbers, got \[1\]"),
        ({"by_layer": {"a": 1}}, "a stored by_layer .*got {'a': 1}"),
        ({"switch": {"on": 1, "cases": [1]}}, "a stored switch is an object with on, cases"),
        ({"subset": {"items": 3, "min_size": 1}}, "a stored subset is an object with items"),
        ({"by_group": {"values": 3}}, "a stored by_group is an object with values"),
        ({"kind": ["toy_box"]}, r"a kind is a text, got \['toy_box'\]"),
    ],
)
def test_damaged_spaces_are_named(item: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace.from_dict(SearchSpace(Box()).to_dict() | {"items": [item]})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], r"a search space is an object .*got \[\]; take"),
        (SearchSpace(Box()).to_dict() | {"items": 3}, "has a list of items, got 3"),
        (SearchSpace(Box()).to_dict() | {"constraints": 3}, "has a list of constraints, got 3"),
    ],
)
def test_what_is_no_space_is_named(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SearchSpace.from_dict(data)


def test_equal_spaces_have_equal_forms() -> None:
    assert SearchSpace(Box(scale=1)) == SearchSpace(Box(scale=1.0))
    assert SearchSpace(Box(scale=1)).to_dict() == SearchSpace(Box(scale=1.0)).to_dict()


def test_words() -> None:
    assert Architecture().words() == "head only"
    assert Architecture(Box(rank=3), Low()).words() == "toy_box(rank=3) + toy_low"


def _last(domain: object) -> object:
    return domain.options[-1] if hasattr(domain, "options") else domain.high  # type: ignore[attr-defined]
