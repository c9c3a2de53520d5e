"""The distance of two architectures: a metric, with a few values worked out by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peftnas.spaces import Architecture, Maybe, SearchSpace
from peftnas.spaces.choosers import at_random
from peftnas.spaces.distance import distance
from peftnas.spaces.keys import train_key
from tests.spaces.strategies import ANATOMIES, spaces
from tests.spaces.toy import Box, Low, Part, Soft, ToyAnatomy


@settings(deadline=None)
@given(spaces(), ANATOMIES, st.integers(0, 2**32))
def test_it_is_a_metric(space: SearchSpace, anatomy: ToyAnatomy, seed: int) -> None:
    bound = space.bind(anatomy)
    choose = at_random(random.Random(seed))
    a, b, c = (bound.draw(choose) for _ in range(3))
    far = bound.distance(a, b)
    assert 0 <= far <= 1
    assert far == bound.distance(b, a) == bound.distance(a.architecture, b.architecture)
    same = bound.train_key(a.architecture) == bound.train_key(b.architecture)
    assert (far == 0) == same
    assert far <= bound.distance(a, c) + bound.distance(c, b) + 1e-12


VALUES = st.sampled_from([0, 1, 2.0, 8, -3, 0.5, True, False, None, "relu", (1, 2), (1.0, 2.0)])


@st.composite
def parts(draw: st.DrawFn) -> list[Part]:
    """Modules of few kinds at few sites, so that several meet at one."""
    made = st.builds(
        _Made,
        kind=st.sampled_from(["low", "box"]),
        site=st.sampled_from(["query", "key"]),
        facts=st.lists(st.tuples(st.sampled_from("abc"), VALUES), max_size=3).map(tuple),
        size=st.just(1),
    )
    return draw(st.lists(made, max_size=4))


class _Made(Part):
    def identity(self) -> dict[str, object]:
        return {"kind": self.kind, "site": self.site, **dict(self.facts)}


@given(parts(), parts(), parts())
def test_fields_of_any_kind(a: list[Part], b: list[Part], c: list[Part]) -> None:
    far = distance(a, b)
    assert 0 <= far <= 1
    assert far == distance(b, a) == distance(a[::-1], b)
    assert (far == 0) == (train_key(a) == train_key(b))
    assert far <= distance(a, c) + distance(c, b) + 1e-12


def _at(**fields: object) -> list[Part]:
    return [_Made("low", "query", tuple(fields.items()), 1)]


def test_by_hand() -> None:
    # one module on each side: d is half of what the fields differ, 2 d / (2 + d) the distance
    assert distance(_at(rank=8), _at(rank=16)) == pytest.approx(2 * 0.25 / 2.25)
    assert distance(_at(rank=8, act="a"), _at(rank=16, act="b")) == pytest.approx(1.5 / 2.75)
    assert distance(_at(rank=8), _at(rank=8, rate=2)) == pytest.approx(1 / 2.5)
    assert distance(_at(a=1, b=2, c=3), _at(a="x", b="y", c="z")) == pytest.approx(2 / 3)
    assert distance(_at(rank=1), _at(rank=1.0)) == 0
    assert distance(_at(rank=1), []) == 1
    assert distance([], []) == 0


def test_modules_at_other_places_are_the_jaccard_distance() -> None:
    bound = SearchSpace(Maybe(Box()), Maybe(Low()), Maybe(Soft())).bind(ToyAnatomy(3))
    box, low, soft = Box(rank=1), Low(rank=1), Soft()
    two, other = Architecture(box, low), Architecture(box, soft)
    # 3 modules in common, 3 + 1 that are not
    assert bound.distance(two, other) == pytest.approx(4 / 7)
    assert bound.distance(box, Architecture()) == 1  # type: ignore[arg-type]
    assert bound.distance(Architecture(Box(scale=1)), Architecture(Box(scale=1.0))) == 0
