"""Attention whose logits are plain products of queries and keys, where parts of keys are idle.

No rotation, no norm and no distance comes between the two: a bias of keys adds the same to all
logits of a query, and of their scales only the product matters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from peftnas.methods.anatomy import linear_address
from peftnas.methods.base import PlacedByLayer, Placement

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy

Place = tuple[int, str]
"""A layer, and the name of its attention."""

KEYS = {"key": "attention", "cross_key": "cross_attention"}
"""Targets that give keys, and whose."""


def key_products(anatomy: Anatomy) -> dict[Place, tuple[str, str]]:
    """The addresses of the query and of the key of each such attention."""
    if anatomy.positions != "learned":
        return {}
    return {
        (layer, sublayer): (linear_address(layer, name.replace("key", "query")), address)
        for layer in range(anatomy.n_layers)
        for name, sublayer in KEYS.items()
        if (address := linear_address(layer, name)) in anatomy.linears
        and not any(f"layers[{layer}].{norm}" in anatomy.norms for norm in _NORMS)
    }


_NORMS = ("query_norm", "key_norm")


def prefixed(placements: Iterable[Placement]) -> set[Place]:
    """The attention that some of the modules put keys and values in front of."""
    return {
        (layer, place.sublayer)
        for part in placements
        if part.is_prefix  # one look each, where instance checks of all would take long
        for place in (cast(PlacedByLayer, part),)
        for layer in place.layers
    }


def idle_keys(anatomy: Anatomy, prefixed: set[Place]) -> set[str]:
    """Rule 9: the addresses of the keys whose bias has no effect: prefix keys go without it."""
    products = anatomy.known(key_products)
    return {key for place, (_, key) in products.items() if place not in prefixed}
