"""The report of a study: Plotly figures, and one HTML file that needs nothing else."""

from __future__ import annotations

from peftnas.search.report.figures.curves import curves_figure
from peftnas.search.report.figures.front import front_figure
from peftnas.search.report.figures.hypervolume import hypervolume_figure
from peftnas.search.report.figures.theme import DARK, LIGHT, Theme
from peftnas.search.report.page import report_html, write_report

__all__ = [
    "DARK",
    "LIGHT",
    "Theme",
    "curves_figure",
    "front_figure",
    "hypervolume_figure",
    "report_html",
    "write_report",
]
