"""Reference vectors: cases of an independent library, run through the public ``attach``."""

from peftnas.methods.testing.reference import Reference, load_reference

__all__ = ["Reference", "load_reference"]
