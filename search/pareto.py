"""Dominance, fronts and hypervolume; numpy only, everything minimised."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def minimised(values: Sequence[Sequence[float]], directions: Sequence[str]) -> Array:
    """The values with every objective turned so that smaller is better.

    Args:
        values: shape (n, m); may be empty.
        directions: "maximize" or "minimize" for each of the m objectives.
    Returns:
        Shape (n, m).
    """
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
    points = np.asarray(values, dtype=np.float64).reshape(-1, len(directions))
    return np.multiply(points, np.asarray(signs, dtype=np.float64))


def non_dominated(points: Array) -> NDArray[np.bool_]:
    """Which points no other point dominates. Equal points do not dominate each other.

    Args:
        points: shape (n, m), minimised. NaN is not allowed.
    Returns:
        Shape (n,), True on the front.
    """
    _refuse_nan(points)
    front = np.zeros(len(points), dtype=bool)
    if not len(points):
        return front
    # in this order no point dominates an earlier one: each has to be compared with the front alone
    order = np.lexsort(points.T[::-1])
    best, kept = points[order[:1]], 0
    for i in order:
        point = points[i]
        no_worse = (best[:kept] <= point).all(axis=1)
        if not no_worse.any() or (best[:kept][no_worse] == point).all():
            front[i] = True
            if kept == len(best):
                best = np.vstack([best, best])
            best[kept] = point
            kept += 1
    return front


def ranks(points: Array) -> NDArray[np.int64]:
    """The front each point lies on when fronts are peeled off one by one; 0 is the best.

    Args:
        points: shape (n, m), minimised. NaN is not allowed.
    Returns:
        Shape (n,).
    """
    _refuse_nan(points)
    if points.shape[1] == 2:
        return _ranks_of_pairs(points)
    rank = np.full(len(points), -1, dtype=np.int64)
    level = 0
    while (left := np.flatnonzero(rank < 0)).size:
        rank[left[non_dominated(points[left])]] = level
        level += 1
    return rank


def _ranks_of_pairs(points: Array) -> NDArray[np.int64]:
    """:func:`ranks` of (n, 2) in n log n: a front is known by the lowest second value on it.

    Going through the points by the first objective, each one lies on the first front whose lowest
    second value so far is above its own; these values rise from front to front.
    """
    rank = np.empty(len(points), dtype=np.int64)
    lowest: list[float] = []
    before = None
    for i in np.lexsort((points[:, 1], points[:, 0])):
        if before is None or (points[i] != points[before]).any():
            rank[i] = bisect.bisect_right(lowest, points[i, 1])
            lowest[rank[i] : rank[i] + 1] = [float(points[i, 1])]
        else:
            rank[i] = rank[before]
        before = i
    return rank


def hypervolume(points: Array, reference: Array) -> float:
    """Volume dominated by ``points`` and bounded by ``reference``; everything minimised.

    Args:
        points: shape (n, m), any points, not only a front. NaN is not allowed.
        reference: shape (m,), no better than any point in any objective.
    Returns:
        Volume, in the product of the objectives' units; 0.0 when ``n == 0``. Exact for every m;
        the time grows like n^(m-1).
    Raises:
        ValueError: if a point is worse than the reference in an objective, or is NaN.
    Source: slicing by objectives; While et al., A Faster Algorithm for Calculating Hypervolume,
        IEEE TEVC 2006.
    """
    reference = np.asarray(reference, dtype=np.float64)
    points = np.asarray(points, dtype=np.float64).reshape(-1, len(reference))
    _refuse_nan(points)
    outside = (points > reference).any(axis=1)
    if outside.any():
        raise ValueError(
            f"hypervolume needs points no worse than the reference {reference.tolist()}, got "
            f"{points[outside][0].tolist()}; move the reference"
        )
    return _volume(np.unique(points, axis=0), reference) if len(points) else 0.0


def hypervolumes(points: Array, reference: Array) -> list[float]:
    """The :func:`hypervolume` of the first 1, 2, ... n points; only the front is kept on the way.

    Args:
        points: shape (n, m), in the order in which they came. NaN is not allowed.
        reference: shape (m,), no better than any point in any objective.
    Returns:
        n volumes, none smaller than the one before.
    """
    front = np.empty((0, len(reference)))
    volumes: list[float] = []
    for point in points:
        if (front <= point).all(axis=1).any():
            volumes.append(volumes[-1])
            continue
        front = np.vstack([front[~(front >= point).all(axis=1)], point])
        volumes.append(hypervolume(front, reference))
    return volumes


def _volume(points: Array, reference: Array) -> float:
    """Hypervolume of checked, distinct points."""
    points = points[non_dominated(points)]
    if len(reference) == 1:
        return float(reference[0] - points[:, 0].min())
    points = points[np.argsort(points[:, -1], kind="stable")]
    if len(reference) == 2:
        # along the front, the second objective rises while the first one falls
        right = np.concatenate(([reference[0]], points[:-1, 0]))
        return float(((right - points[:, 0]) * (reference[1] - points[:, 1])).sum())
    heights = np.diff(np.append(points[:, -1], reference[-1]))
    return sum(
        float(height) * _volume(points[: i + 1, :-1], reference[:-1])
        for i, height in enumerate(heights)
        if height > 0
    )


def _refuse_nan(points: Array) -> None:
    if np.isnan(points).any():
        raise ValueError("objective values must not be NaN; leave out trials that failed")
