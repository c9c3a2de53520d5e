"""Exact sizes of an architecture on a backbone; none of them needs weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from peftnas.methods.anatomy import linear_address
from peftnas.methods.base import Method, PlacedByLayer, Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.layers import check_layers_matter
from peftnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


def place(architecture: Architecture, anatomy: Anatomy) -> tuple[Placement, ...]:
    """Every module that an architecture puts on a backbone, method by method.

    Raises:
        ValueError: if a method names a site or layer that the backbone does not have, or only
            layers that have nothing of what it acts on.
    """
    placements: list[Placement] = []
    for method in architecture.methods:
        if not isinstance(method, Method):
            raise ValueError(f"an architecture holds methods, got {method!r}; leave it out")
        here = list(method.place(anatomy))
        if not here:
            check_layers_matter(method, anatomy)
        placements.extend(here)
    return tuple(without_idle_key_biases(placements, anatomy))


def without_idle_key_biases(placements: list[Placement], anatomy: Anatomy) -> list[Placement]:
    """Rule 9, layer by layer: beside prefixes a key bias acts only where one of them is.

    Where no prefix is attached at all, only the canonical form leaves key biases out: the count of
    a plain ``BitFit()`` stays that of its paper.
    """
    if anatomy.positions != "learned":
        return placements
    prefixed = {
        layer
        for part in placements
        if part.is_prefix  # one look each, where instance checks of all would take long
        and (place := cast(PlacedByLayer, part)).sublayer == "attention"
        for layer in place.layers
    }
    if not prefixed:
        return placements
    idle = {
        linear_address(layer, "key") for layer in range(anatomy.n_layers) if layer not in prefixed
    }
    return [
        part
        for part in placements
        if not (part.kind == BitFitPlacement.kind and part.site in idle)
    ]


def count(architecture: Architecture, anatomy: Anatomy) -> int:
    """Trainable parameters without the task head, training-only parts included."""
    return sum(placement.count() for placement in place(architecture, anatomy))


def stored_parameters(architecture: Architecture, anatomy: Anatomy) -> int:
    """Parameters to be kept after training; less than ``count`` where some fold away."""
    return sum(placement.stored() for placement in place(architecture, anatomy))


def stored_bytes(architecture: Architecture, anatomy: Anatomy, bytes_each: int = 4) -> int:
    """Bytes of the kept parameters, at ``bytes_each`` a parameter (4: float32)."""
    return bytes_each * stored_parameters(architecture, anatomy)
