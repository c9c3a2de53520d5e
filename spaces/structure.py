"""Structure over domains: presence, a fresh draw for each layer, and the values they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Maybe:
    """A method (or a Choice of methods) that is present or absent."""

    content: Any

    def __post_init__(self) -> None:
        if isinstance(self.content, Maybe):
            raise ValueError("Maybe(Maybe(...)) says absent twice; keep one Maybe")


@dataclass(frozen=True)
class PerLayer(Domain[T], Generic[T]):
    """A fresh draw of ``domain`` for each layer in which the method is active."""

    domain: Domain[T]

    def __post_init__(self) -> None:
        _check_inner("PerLayer", self.domain)


@dataclass(frozen=True)
class PerGroup(Domain[T], Generic[T]):
    """A fresh draw of ``domain`` for each of ``n`` contiguous groups of layers.

    With L layers the first ``L mod n`` groups take one layer more. A group in which the method is
    active in no layer draws nothing.
    """

    n: int
    domain: Domain[T]

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"PerGroup needs n >= 1 groups, got {self.n!r}")
        _check_inner("PerGroup", self.domain)

    def group_of(self, layer: int, n_layers: int) -> int:
        """The group (0-based) of ``layer`` in a stack of ``n_layers``."""
        size, larger = divmod(n_layers, self.n)
        boundary = larger * (size + 1)
        if layer < boundary:
            return layer // (size + 1)
        return larger + (layer - boundary) // size


class ByLayer(Generic[T]):
    """The values of one field layer by layer: what a ``PerLayer`` draw leaves in an architecture.

    Layers that are not named have no value: the method is not active there.
    """

    def __init__(self, values: Mapping[int, T]) -> None:
        if not values:
            raise ValueError("ByLayer needs at least one layer, got none; leave the method out")
        for layer in values:
            if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
                raise ValueError(f"ByLayer needs layer numbers >= 0, got {layer!r}")
        self._values = tuple(sorted(values.items()))
        self._at = dict(self._values)
        self.layers: tuple[int, ...] = tuple(self._at)

    def __getitem__(self, layer: int) -> T:
        try:
            return self._at[layer]
        except KeyError:
            raise KeyError(f"no value for layer {layer}; this ByLayer has {self.layers}") from None

    def items(self) -> Iterator[tuple[int, T]]:
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ByLayer) and self._values == other._values

    def __hash__(self) -> int:
        return hash(self._values)

    def __repr__(self) -> str:
        return f"ByLayer({dict(self._values)!r})"


def _check_inner(name: str, domain: object) -> None:
    if not isinstance(domain, Integer | Real | Choice | Subset) or (
        isinstance(domain, Subset) and domain.layers
    ):
        raise ValueError(
            f"{name} needs an Integer, Real, Choice or Subset of named items, got {domain!r}; "
            f"a fixed value needs no {name}"
        )
