"""Grouped: which methods act in which groups of layers, the design space of S4."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.groupings import check_grouping
from peftnas.spaces.structure import Maybe
from peftnas.spaces.ties import unshared


class Grouped:
    """Some of several methods in each of ``n`` contiguous groups of layers.

    The layers are cut by ``grouping``, some of the groups are tuned, and for each of these a set
    of the methods is drawn. A method has one draw of its fields for all its groups, unless they
    hold ``PerLayer``, ``PerGroup`` or ``ByGroup``. An encoder and its decoder are cut apart, each
    into ``n`` groups with sets of their own: the groups of the encoder are numbered first.

    Args:
        methods: each with a field ``layers``, which is left out.
        n: groups of each stack of layers, at most the layers of the largest; a stack of fewer
            layers has a group for each. ``None``: each layer is one.
        grouping: one of ``groupings.GROUPINGS``, a ``Choice`` of these or a ``Shared`` one.
        tuned: a ``Subset`` of the group numbers 0 .. n - 1 (of the layers, where each is one);
            ``None``: all groups. A number stands for that group of every stack; each of these is
            tuned or not by itself, and the sizes of the subset count them all.
        min_size: fewest methods of a tuned group.
        max_size: most of them; ``None``: all.
        draw_all: draw a set for the other groups too, which then is left out, as S4 counts its
            space.
    Raises:
        ValueError: if one of these rules is broken.

    Source: Chen et al. 2301.01821.
    """

    kind = "groups"

    def __init__(
        self,
        *methods: Configurable,
        n: int | None,
        grouping: Any = "uniform",
        tuned: Any = None,
        min_size: int = 1,
        max_size: int | None = None,
        draw_all: bool = False,
    ) -> None:
        _check_methods(methods)
        if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 1):
            raise ValueError(
                f"Grouped needs n >= 1 groups, or None for each layer, got {n!r}; take 1 or more"
            )
        check_grouping("Grouped", grouping)
        _check_tuned(tuned, n)
        if isinstance(min_size, bool) or min_size not in range(len(methods) + 1):
            raise ValueError(
                f"Grouped needs 0 <= min_size <= {len(methods)} (its methods), got {min_size!r}; "
                "change it, or name more methods"
            )
        if not isinstance(draw_all, bool):
            raise ValueError(
                f"Grouped needs draw_all=True or False, got {draw_all!r}; take one of them"
            )
        self.methods, self.n, self.grouping, self.tuned = methods, n, grouping, tuned
        self.min_size, self.draw_all = min_size, draw_all
        self.labels = tuple(names_of(method.kind for method in methods))
        self.choices = Subset(*self.labels, min_size=min_size, max_size=max_size)

    @cached_property
    def max_size(self) -> int | None:
        """Most methods of a tuned group; ``None``: all."""
        return self.choices.max_size

    def changed(self, **changes: Any) -> Grouped:
        """A copy with some arguments changed; ``methods`` is one of them."""
        held = {name: getattr(self, name) for name in _ARGUMENTS} | changes
        methods = held.pop("methods", self.methods)
        return Grouped(*methods, **held)

    def tuned_in(self, tuned: Any) -> Grouped:
        """A copy with the tuned groups made concrete, numbered through all stacks."""
        bound = copy.copy(self)
        bound.tuned = tuned
        return bound

    def _state(self) -> tuple[Any, ...]:
        return (self.methods, *(getattr(self, name) for name in _ARGUMENTS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grouped) and self._state() == other._state()

    def __hash__(self) -> int:
        return hash(self._state())

    def __repr__(self) -> str:
        held = {name: getattr(self, name) for name in _ARGUMENTS}
        shown = [f"{name}={value!r}" for name, value in held.items() if value != _USUAL[name]]
        return f"Grouped({', '.join([*map(repr, self.methods), *shown])})"


_USUAL: dict[str, Any] = {
    "n": object(),
    "grouping": "uniform",
    "tuned": None,
    "min_size": 1,
    "max_size": None,
    "draw_all": False,
}
_ARGUMENTS = tuple(_USUAL)


def names_of(kinds: Iterable[str]) -> list[str]:
    """One name each, numbered from the second of a kind on: adapter, adapter2."""
    seen: Counter[str] = Counter()
    names = []
    for kind in kinds:
        seen[kind] += 1
        names.append(kind if seen[kind] == 1 else f"{kind}{seen[kind]}")
    return names


def _check_methods(methods: tuple[Any, ...]) -> None:
    if not methods:
        raise ValueError("Grouped needs at least one method, got none; name the methods")
    for method in methods:
        if not isinstance(method, Configurable) or "layers" not in settings(type(method)):
            raise ValueError(
                f"Grouped takes methods that act in layers, got {method!r}; {_remedy(method)}"
            )
        layers = method.layers  # type: ignore[attr-defined]
        if layers is not None:
            raise ValueError(
                f"Grouped chooses the layers of its methods, got layers={layers!r} in "
                f"{type(method).__name__}; leave them out"
            )


def _remedy(given: Any) -> str:
    """What to write in place of what is no method that acts in layers."""
    match given:
        case type():
            return f"write {given.__name__}(...)"
        case list() | tuple():
            return "unpack it: Grouped(*methods, n=...)"
        case Maybe() | Choice():
            return "name the methods themselves: each group takes some of them"
    return "put it beside"


def _check_tuned(tuned: Any, n: int | None) -> None:
    domain = unshared(tuned)
    if tuned is None or (isinstance(domain, Subset) and domain.layers and n is None):
        return
    numbers = range(n) if n is not None else None
    fits = isinstance(domain, Subset) and not domain.layers
    if not fits or any(
        not isinstance(item, int) or (numbers is not None and item not in numbers)
        for item in domain.items
    ):
        groups = "of the layers" if n is None else f"of the groups 0..{n - 1}"
        remedy = "Subset.of_layers()" if n is None else f"Subset({', '.join(map(str, range(n)))})"
        raise ValueError(
            f"Grouped's tuned must be a Subset {groups}, got {tuned!r}; write {remedy}"
        )
