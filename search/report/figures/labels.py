"""Where the names of points go: on the side where they cover the least."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from peftnas.search.report.figures.theme import Theme

Coordinates = tuple[list[float], list[float]]

# size of one letter and of a line, and the distance from the point, as shares of the figure: true
# for about 800 by 380 pixels
_LETTER, _LINE, _GAP = 0.009, 0.05, 0.012
_GROUND = "c0"  # opacity, hex
# where the name's centre lies, in widths and heights of the name from the point
_SIDES = {
    "middle right": (0.5, 0.0),
    "middle left": (-0.5, 0.0),
    "bottom center": (0.0, -0.5),
    "top center": (0.0, 0.5),
    "bottom right": (0.5, -0.5),
    "bottom left": (-0.5, -0.5),
}


def positions(names: Sequence[str], points: Coordinates, others: Coordinates) -> list[str]:
    """The side of its point on which each name covers the fewest points.

    Args:
        names: one a point; ``<br>`` breaks lines.
        points: their coordinates on the axes as drawn.
        others: coordinates of all other points.
    Returns:
        "middle right", "top center" and so on. None reaches beyond the outermost points.
    """
    xs, ys = (_unit([*own, *other]) for own, other in zip(points, others, strict=True))
    everything = list(zip(xs, ys, strict=True))
    return [
        _least_covering(name, at, everything) for name, at in zip(names, everything, strict=False)
    ]


def add_names(
    figure: go.Figure, names: Sequence[str], points: Coordinates, others: Coordinates, theme: Theme
) -> None:
    """Write names beside their points, on a ground that keeps them legible over other points."""
    for name, side, x, y in zip(names, positions(names, points, others), *points, strict=True):
        right, up = _SIDES[side]
        figure.add_annotation(
            text=name,
            x=x,
            y=y,
            showarrow=False,
            # an anchor is the side of the name that is at the point
            xanchor="left" if right > 0 else "right" if right < 0 else "center",
            yanchor="bottom" if up > 0 else "top" if up < 0 else "middle",
            xshift=10 * (right > 0) - 10 * (right < 0),
            yshift=9 * (up > 0) - 9 * (up < 0),
            align="left" if right > 0 else "right" if right < 0 else "center",
            bgcolor=theme.surface + _GROUND,
            borderpad=0,
            font={"color": theme.baseline, "size": 12},
        )


def _least_covering(
    name: str, at: tuple[float, float], points: Sequence[tuple[float, float]]
) -> str:
    costs = {side: _cost(side, name, at, points) for side in _SIDES}
    return min(costs, key=costs.__getitem__)


def _cost(
    side: str, name: str, at: tuple[float, float], points: Sequence[tuple[float, float]]
) -> float:
    """How many points a name on this side would cover; very much when it leaves the figure."""
    right, up = _SIDES[side]
    lines = name.split("<br>")
    width, height = _LETTER * max(map(len, lines)), _LINE * len(lines)
    x = at[0] + right * (width + 2 * _GAP)
    y = at[1] + up * (height + 2 * _GAP)
    covered = sum(
        abs(px - x) < width / 2 + _GAP and abs(py - y) < height / 2 + _GAP
        for px, py in points
        if (px, py) != at
    )
    outside = x - width / 2 < 0 or x + width / 2 > 1
    return covered + 1000 * outside


def _unit(values: Sequence[float]) -> list[float]:
    """Values as shares of their range."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.5 for value in values]
