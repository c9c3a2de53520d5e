"""Figures of a study: results in, a Plotly figure out."""
