"""Exact sizes of an architecture on a backbone; none of them needs weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peftnas.methods.base import Method, Placement
from peftnas.spaces.architecture import Architecture

if TYPE_CHECKING:
    from peftnas.methods.anatomy import Anatomy


def place(architecture: Architecture, anatomy: Anatomy) -> tuple[Placement, ...]:
    """Every module that an architecture puts on a backbone, method by method.

    Raises:
        ValueError: if a method names a site or layer that the backbone does not have, or the
            whole backbone is to be trained twice.
    """
    placements: list[Placement] = []
    for method in architecture.methods:
        if not isinstance(method, Method):
            raise ValueError(f"an architecture holds methods, got {method!r}; leave it out")
        placements.extend(method.place(anatomy))
    if sum(placement.site == "backbone" for placement in placements) > 1:
        raise ValueError("full fine-tuning is to be named once, got it twice; drop one")
    return tuple(placements)


def count(architecture: Architecture, anatomy: Anatomy) -> int:
    """Trainable parameters without the task head, training-only parts included."""
    return sum(placement.count() for placement in place(architecture, anatomy))


def stored_parameters(architecture: Architecture, anatomy: Anatomy) -> int:
    """Parameters to be kept after training; less than ``count`` where some fold away."""
    return sum(placement.stored() for placement in place(architecture, anatomy))


def stored_bytes(architecture: Architecture, anatomy: Anatomy, bytes_each: int = 4) -> int:
    """Bytes of the kept parameters, at ``bytes_each`` a parameter (4: float32)."""
    return bytes_each * stored_parameters(architecture, anatomy)
