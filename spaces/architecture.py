"""Architecture: methods holding values, one assignment of a search space."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from peftnas.spaces.fields import Configurable, is_resolved


class Placement(Protocol):
    """One module at one site, as a method places it on a backbone."""

    @property
    def site(self) -> str: ...

    def count(self) -> int:
        """Trainable parameters of the module."""

    def identity(self) -> dict[str, Any]:
        """What distinguishes its training; JSON values."""


class Anatomy(Protocol):
    """What a search space has to know of a backbone. ``peftnas.methods.Anatomy`` fulfils it."""

    @property
    def n_layers(self) -> int: ...

    @property
    def backbone_parameters(self) -> int:
        """Parameters of the backbone without any task head."""

    def canonical(self, architecture: Architecture) -> Architecture:
        """The architecture without what has no effect; the same for two spellings of one network.

        Raises:
            ValueError: if it names a site or layer that the backbone does not have.
        """

    def place(self, architecture: Architecture) -> tuple[Placement, ...]:
        """Every module that the architecture puts on this backbone, in a fixed order."""


@dataclass(frozen=True, init=False)
class Architecture:
    """Methods that hold values: what is attached to a backbone. No method is the bare head.

    Raises:
        ValueError: if a method still holds a domain.
    """

    methods: tuple[Configurable, ...]

    def __init__(self, *methods: Configurable) -> None:
        for method in methods:
            if not isinstance(method, Configurable):
                raise ValueError(f"Architecture takes methods, got {method!r}")
            if not is_resolved(method):
                raise ValueError(
                    f"Architecture takes methods that hold values, got {method!r}; "
                    "a method that holds domains belongs in a SearchSpace"
                )
        object.__setattr__(self, "methods", methods)
