"""Structure over domains: presence, draws layer by layer or tied together, what they leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from peftnas.spaces.domains import Choice, Domain, Integer, Real, Subset
from peftnas.spaces.groupings import check_grouping, group_numbers, number_of_groups

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

    An encoder and its decoder are cut apart, each into ``n`` groups with draws of their own
    (``2 * n`` in all): the groups of the encoder are numbered first. A group in which the method
    is active in no layer draws nothing.

    Args:
        n: groups of each stack of layers, at most the layers of the largest; a stack of fewer
            layers has a group for each.
        domain: an ``Integer``, ``Real``, ``Choice`` or ``Subset``.
        grouping: how the layers are cut, one of ``groupings.GROUPINGS``; or a ``Choice`` of
            these, or a ``Shared`` one. "uniform": equal groups, the first ones a layer larger
            where they do not come out even.
    """

    n: int
    domain: Domain[T]
    grouping: Any = "uniform"
    stacks: tuple[int, ...] = field(default=(), init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"PerGroup needs n >= 1 groups, got {self.n!r}; take 1 or more")
        _check_inner("PerGroup", self.domain)
        check_grouping("PerGroup", self.grouping)

    def bind(self, stacks: tuple[int, ...]) -> PerGroup[T]:
        """The same on a backbone.

        Args:
            stacks: how many layers each of its stacks has.
        """
        bound = PerGroup(self.n, self.domain, self.grouping)
        object.__setattr__(bound, "stacks", stacks)
        return bound

    def cut_by(self, grouping: str) -> PerGroup[T]:
        """The same on its backbone with one grouping."""
        return PerGroup(self.n, self.domain, grouping).bind(self.stacks)

    @property
    def groups(self) -> int:
        """How many groups there are in all stacks of the backbone."""
        return number_of_groups(self.n, self.stacks)

    def numbers(self, grouping: str) -> tuple[int, ...]:
        """The group (0-based) of each layer of the backbone under a grouping."""
        return group_numbers(self.n, self.stacks, grouping)

    def group_of(self, layer: int) -> int:
        """The group (0-based) of a layer of the backbone; for a fixed grouping."""
        return self.numbers(self.grouping)[layer]


class ByGroup(Domain[T], Generic[T]):
    """One given value for each of several contiguous groups of layers, such as growing ranks.

    Nothing is drawn, unless the grouping is. In a ``Choice`` it makes a whole profile an option:
    ``Choice(ByGroup(2, 4, 8), 4, ByGroup(8, 4, 2))``. An encoder and its decoder are cut apart
    and have the same values, each from its lowest layers up.

    Args:
        values: plain values, for the groups from the lowest layers up; at most the layers of the
            smallest stack.
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
        self.stacks: tuple[int, ...] = ()

    def bind(self, stacks: tuple[int, ...]) -> ByGroup[T]:
        """The same on a backbone; see :meth:`PerGroup.bind`."""
        bound = ByGroup(*self.values, grouping=self.grouping)
        bound.stacks = stacks
        return bound

    @property
    def groups(self) -> int:
        """How many groups there are in all stacks of the backbone."""
        return number_of_groups(len(self.values), self.stacks)

    def table(self, layers: Iterable[int], grouping: str) -> ByLayer[T]:
        """The values of some layers (at least one) of the backbone under a grouping."""
        n = len(self.values)
        numbers = group_numbers(n, self.stacks, grouping)
        return ByLayer({layer: self.values[numbers[layer] % n] for layer in layers})

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ByGroup)
            and [(type(v), v) for v in self.values] == [(type(v), v) for v in other.values]
            and (self.grouping, self.stacks) == (other.grouping, other.stacks)
        )

    def __hash__(self) -> int:
        return hash((self.values, self.grouping, self.stacks))

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
