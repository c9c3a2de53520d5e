"""Names that the literals of families may use, in the order of methods' fields."""

from __future__ import annotations

SUBLAYERS = ("attention", "cross_attention", "ffn", "mixer")
"""Names of the sublayers that a layer of some family has."""

TARGETS = (
    *("query", "key", "value", "output"),
    *("cross_query", "cross_key", "cross_value", "cross_output"),
    *("up", "gate_proj", "down"),
    *("in_proj", "x_proj"),
)
"""Names of the linears that a layer of some family has."""
