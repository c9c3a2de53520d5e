"""Structure over domains: presence, draws layer by layer or tied together, what they leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.groupings import check_grouping, group_of

T = TypeVar("T", covariant=True)


@dataclass(frozen=True)
class Maybe:
    """A method (or a Choice of methods) that is present or absent."""

    content: Any

    def __post_init__(self) -> None:
        if isinstance(self.content, Maybe):
            raise ValueError(
                f"Maybe(Maybe(...)) says absent twice, got Maybe({self.content!r}); keep one Maybe"
            )


@dataclass(frozen=True)
class PerLayer(Domain[T], Generic[T]):
    """A fresh draw of ``domain`` for each layer in which the method is active."""

    domain: Domain[T]

    def __post_init__(self) -> None:
        _check_inner("PerLayer", self.domain)


@dataclass(frozen=True)
class PerGroup(Domain[T], Generic[T]):
    """A fresh draw of ``domain`` for each of ``n`` contiguous groups of layers.

    A group in which the method is active in no layer draws nothing.

    Args:
        n: groups, at most the layers of the backbone.
        domain: an ``Integer``, ``Real``, ``Choice`` or ``Subset``.
        grouping: how the layers are cut, one of ``groupings.GROUPINGS``; or a ``Choice`` of
            these, or a ``Shared`` one. "uniform": equal groups, the first ones a layer larger
            where they do not come out even.
    """

    n: int
    domain: Domain[T]
    grouping: Any = "uniform"

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"PerGroup needs n >= 1 groups, got {self.n!r}; take 1 or more")
        _check_inner("PerGroup", self.domain)
        check_grouping("PerGroup", self.grouping)

    def group_of(self, layer: int, n_layers: int) -> int:
        """The group (0-based) of ``layer`` in a stack of ``n_layers``; for a fixed grouping."""
        return group_of(layer, self.n, n_layers, self.grouping)


class ByGroup(Domain[T], Generic[T]):
    """One given value for each of several contiguous groups of layers, such as growing ranks.

    Nothing is drawn, unless the grouping is. In a ``Choice`` it makes a whole profile an option:
    ``Choice(ByGroup(2, 4, 8), 4, ByGroup(8, 4, 2))``.

    Args:
        values: plain values, for the groups from the lowest layers up.
        grouping: as of :class:`PerGroup`.
    """

    def __init__(self, *values: T, grouping: Any = "uniform") -> None:
        if not values:
            raise ValueError("ByGroup needs at least one value, got none; name one a group")
        for value in values:
            if isinstance(value, Domain):
                raise ValueError(
                    f"ByGroup takes plain values, got {value!r}; use PerGroup to draw them"
                )
        check_grouping("ByGroup", grouping)
        self.values, self.grouping = values, grouping

    def table(self, layers: Iterable[int], n_layers: int, grouping: str) -> ByLayer[T]:
        """The values of some layers (at least one) under a grouping."""
        n = len(self.values)
        return ByLayer({i: self.values[group_of(i, n, n_layers, grouping)] for i in layers})

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ByGroup)
            and [(type(v), v) for v in self.values] == [(type(v), v) for v in other.values]
            and self.grouping == other.grouping
        )

    def __hash__(self) -> int:
        return hash((self.values, self.grouping))

    def __repr__(self) -> str:
        grouping = [] if self.grouping == "uniform" else [f"grouping={self.grouping!r}"]
        return f"ByGroup({', '.join([*map(repr, self.values), *grouping])})"


class ByLayer(Generic[T]):
    """The values of one field layer by layer: what a ``PerLayer`` draw leaves in an architecture.

    Layers that are not named have no value: the method is not active there.
    """

    def __init__(self, values: Mapping[int, T]) -> None:
        if not values:
            raise ValueError("ByLayer needs at least one layer, got none; leave the method out")
        for layer in values:
            if isinstance(layer, bool) or not isinstance(layer, int) or layer < 0:
                raise ValueError(f"ByLayer needs layer numbers >= 0, got {layer!r}; count from 0")
        plain = {n: tuple(one) if isinstance(one, list) else one for n, one in values.items()}
        self._values: tuple[tuple[int, Any], ...] = tuple(sorted(plain.items()))
        self._at: dict[int, T] = dict(self._values)
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
