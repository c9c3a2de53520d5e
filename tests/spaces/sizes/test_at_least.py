"""The bounds of points without a look at them, against listing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from peftnas.spaces import SearchSpace
from peftnas.spaces.enumerate import all_points
from peftnas.spaces.sizes.at_least import at_least
from peftnas.spaces.sizes.at_most import at_most
from tests.spaces.strategies import ANATOMIES, spaces
from tests.spaces.test_language import SPACES
from tests.spaces.toy import ToyAnatomy

_LISTED = 300


def _holds(space: SearchSpace, anatomy: ToyAnatomy) -> None:
    bound = space.bind(anatomy)
    points = all_points(bound, _LISTED)
    if points is None:
        assert at_most(bound) > _LISTED
    else:
        assert at_least(bound) <= len(points) <= at_most(bound)


@settings(max_examples=60, deadline=None)
@given(spaces(), ANATOMIES)
def test_bounds_of_random_spaces(space: SearchSpace, anatomy: ToyAnatomy) -> None:
    _holds(space, anatomy)


@pytest.mark.parametrize("name", SPACES)
def test_bounds_of_the_whole_language(name: str) -> None:
    _holds(SPACES[name], ToyAnatomy(4))
