"""Exact sizes of an architecture on a backbone; none of them needs weights."""

from __future__ import annotations

from collections.abc import Iterator

from peftnas.methods.anatomy import Anatomy
from peftnas.methods.base import Method, Placement
from peftnas.methods.bitfit import BitFitPlacement
from peftnas.methods.checks import check_anatomy
from peftnas.methods.key_products import idle_keys, prefixed
from peftnas.methods.layers import check_layers_matter
from peftnas.spaces.architecture import Architecture, as_architecture


def place(architecture: Architecture | Method, anatomy: Anatomy) -> tuple[Placement, ...]:
    """Every module that an architecture puts on a backbone, method by method.

    Args:
        architecture: methods holding values, or one such method.
        anatomy: of the backbone.
    Raises:
        TypeError: if an argument is something else.
        ValueError: if a method names a site or layer that the backbone does not have, or only
            layers that have nothing of what it acts on.
    """
    check_anatomy(anatomy)
    placements: list[Placement] = []
    for method in _methods(architecture):
        here = list(method.place(anatomy))
        if not here:
            check_layers_matter(method, anatomy)
        placements.extend(here)
    return tuple(without_idle_key_biases(placements, anatomy))


def _methods(architecture: Architecture | Method) -> Iterator[Method]:
    for method in as_architecture(architecture).methods:
        if not isinstance(method, Method):
            raise ValueError(f"an architecture holds methods, got {method!r}; leave it out")
        yield method


def without_idle_key_biases(placements: list[Placement], anatomy: Anatomy) -> list[Placement]:
    """Rule 9, layer by layer: beside prefixes a key bias acts only where one of them is.

    Where no prefix is attached at all, only the canonical form leaves key biases out: the count of
    a plain ``BitFit()`` stays that of its paper.
    """
    if anatomy.positions != "learned":
        return placements
    places = prefixed(placements)
    if not places:
        return placements
    idle = idle_keys(anatomy, places)
    return [
        part
        for part in placements
        if not (part.kind == BitFitPlacement.kind and part.site in idle)
    ]


def count(architecture: Architecture | Method, anatomy: Anatomy) -> int:
    """Trainable parameters without the task head, training-only parts included."""
    check_anatomy(anatomy)
    if anatomy.positions == "learned":
        return sum(placement.count() for placement in place(architecture, anatomy))
    # no method changes the count of another one, so that no placement has to be kept
    total = 0
    for method in _methods(architecture):
        here = method.count(anatomy)
        if not here:
            check_layers_matter(method, anatomy)
        total += here
    return total


def stored_parameters(architecture: Architecture | Method, anatomy: Anatomy) -> int:
    """Parameters needed to run it after training; less than ``count`` where some fold away."""
    return sum(placement.stored() for placement in place(architecture, anatomy))


def stored_bytes(
    architecture: Architecture | Method, anatomy: Anatomy, bytes_each: int = 4
) -> int:
    """Bytes that must be kept to run it after training.

    Parameters after folding, and the places of sparse ones. ``save`` writes more where something
    serves the training alone (the network of a prefix, all experts): a training can go on from it.

    Args:
        architecture: methods holding values, or one such method.
        anatomy: of the backbone.
        bytes_each: of a parameter; 4: float32.
    """
    return sum(part.stored_bytes(bytes_each) for part in place(architecture, anatomy))
