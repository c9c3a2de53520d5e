"""Fronts and hypervolume: closed forms, agreement with a second algorithm, invariances."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from peftnas.search.pareto import hypervolume, hypervolumes, minimised, non_dominated, ranks

GRID = st.integers(0, 4).map(float)


def points_of(m: int) -> st.SearchStrategy[np.ndarray]:
    return st.integers(0, 7).flatmap(lambda n: arrays(np.float64, (n, m), elements=GRID))


def by_cells(points: np.ndarray, reference: np.ndarray) -> float:
    """Hypervolume of points on whole numbers, by counting unit cells."""
    cells = itertools.product(*(range(int(edge)) for edge in reference))
    return float(sum(any((p <= np.array(cell)).all() for p in points) for cell in cells))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4).flatmap(points_of))
def test_hypervolume_equals_counting_cells(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 5.0)
    assert hypervolume(points, reference) == pytest.approx(by_cells(points, reference))


@settings(max_examples=40, deadline=None)
@given(points_of(2), st.randoms())
def test_order_and_repetition_change_nothing(points: np.ndarray, random) -> None:  # type: ignore[no-untyped-def]
    reference = np.array([5.0, 5.0])
    shuffled = np.concatenate([points, points])
    random.shuffle(order := list(range(len(shuffled))))
    assert hypervolume(shuffled[order], reference) == hypervolume(points, reference)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3).flatmap(points_of))
def test_front_by_definition(points: np.ndarray) -> None:
    for i, on_front in enumerate(non_dominated(points)):
        beaten = any((q <= points[i]).all() and (q < points[i]).any() for q in points)
        assert on_front == (not beaten)


def test_equal_points_stay_on_the_front_together() -> None:
    assert non_dominated(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 3.0]])).tolist() == [
        True,
        True,
        False,
    ]


def test_ranks_peel_fronts() -> None:
    points = np.array([[3.0, 3.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
    assert ranks(points).tolist() == [2, 0, 0, 1]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3).flatmap(points_of))
def test_ranks_by_definition(points: np.ndarray) -> None:
    """A rank is the number of fronts to take off before a point is on the next one."""
    rank, left = ranks(points), np.ones(len(points), dtype=bool)
    for level in range(int(rank.max(initial=-1)) + 1):
        front = non_dominated(points[left])
        assert (rank[left] == level).tolist() == front.tolist()
        left[np.flatnonzero(left)[front]] = False
    assert not left.any()


def test_closed_forms() -> None:
    assert hypervolume(np.zeros((0, 2)), np.array([1.0, 1.0])) == 0.0
    assert hypervolume(np.array([[0.25]]), np.array([1.0])) == 0.75
    assert hypervolume(np.array([[0.0, 0.0, 0.0]]), np.array([1.0, 2.0, 3.0])) == 6.0
    assert hypervolume(np.array([[1.0, 0.0]]), np.array([1.0, 1.0])) == 0.0


def test_maximised_objectives_are_turned() -> None:
    turned = minimised([(0.9, 100.0)], ("maximize", "minimize"))
    assert turned.tolist() == [[-0.9, 100.0]]
    assert minimised([], ("maximize", "minimize")).shape == (0, 2)


def test_points_beyond_the_reference_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="no worse than the reference"):
        hypervolume(np.array([[2.0, 0.0]]), np.array([1.0, 1.0]))
    with pytest.raises(ValueError, match="NaN"):
        non_dominated(np.array([[np.nan, 0.0]]))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3).flatmap(points_of))
def test_volumes_on_the_way_are_those_of_every_prefix(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 5.0)
    prefixes = [hypervolume(points[: i + 1], reference) for i in range(len(points))]
    assert hypervolumes(points, reference) == pytest.approx(prefixes)
