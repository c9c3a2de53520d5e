"""Colours of page and figures, light and dark; safe for colour-blind readers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours as CSS hex strings.

    Attributes:
        page: behind everything.
        surface: of cards and figures.
        text: main text; ``muted`` less important text; ``grid`` thin lines.
        front: points on the front, links.
        tint: behind the front's rows in the table; ``front``, very pale.
        dominated: points that another one beats.
        baseline: untuned baselines.
        failed: trials that failed.
        few, many: ends of the scale from few to many parameters.
    Source: the hues are Okabe and Ito's, Color Universal Design, 2008.
    """

    name: str
    page: str
    surface: str
    text: str
    muted: str
    grid: str
    front: str
    tint: str
    dominated: str
    baseline: str
    failed: str
    few: str
    many: str

    def css_variables(self) -> str:
        """The colours as CSS custom properties, ``--front: #0072B2`` and so on."""
        colours = {k: v for k, v in dataclasses.asdict(self).items() if k != "name"}
        return "; ".join(f"--{key}: {value}" for key, value in colours.items())


LIGHT = Theme(
    name="light",
    page="#f5f6f8",
    surface="#ffffff",
    text="#1b2230",
    muted="#596373",
    grid="#e1e5ea",
    front="#0072B2",
    tint="#e8f2f9",
    dominated="#8d97a5",
    baseline="#C24E00",
    failed="#A8447E",
    few="#56B4E9",
    many="#00395a",
)
DARK = Theme(
    name="dark",
    page="#0e1115",
    surface="#161a20",
    text="#e5e9ef",
    muted="#9ba6b5",
    grid="#2b323c",
    front="#56B4E9",
    tint="#152a3a",
    dominated="#77828f",
    baseline="#E69F00",
    failed="#D88FB5",
    few="#1f6f9f",
    many="#c9ecff",
)


def styled(figure: go.Figure, theme: Theme, *, height: int) -> go.Figure:
    """Give a figure the theme's colours and the report's layout; returns the same figure."""
    axis: dict[str, Any] = {
        "gridcolor": theme.grid,
        "linecolor": theme.grid,
        "zeroline": False,
        "automargin": True,
        "title": {"font": {"size": 13}},
    }
    figure.update_layout(
        # not Plotly's default: it sets colours for one theme only
        template=go.layout.Template(),
        height=height,
        autosize=True,
        margin={"l": 12, "r": 16, "t": 40, "b": 12},
        paper_bgcolor=theme.surface,
        plot_bgcolor=theme.surface,
        font={"family": FONT, "size": 13, "color": theme.text},
        hovermode="closest",
        hoverlabel={
            "align": "left",
            "bgcolor": theme.surface,
            "bordercolor": theme.muted,
            "font": {"family": FONT, "size": 12, "color": theme.text},
        },
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"size": 12},
            "bgcolor": "rgba(0,0,0,0)",
        },
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def empty(figure: go.Figure, theme: Theme, sentence: str) -> go.Figure:
    """Say in the middle of a figure why nothing is drawn in it."""
    figure.update_layout(height=160)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        text=sentence,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"size": 15, "color": theme.muted},
    )
    return figure
