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


def test_words() -> None:
    assert Architecture().words() == "head only"
    assert Architecture(Box(rank=3), Low()).words() == "toy_box(rank=3) + toy_low"


def _last(domain: object) -> object:
    return domain.options[-1] if hasattr(domain, "options") else domain.high  # type: ignore[attr-defined]
