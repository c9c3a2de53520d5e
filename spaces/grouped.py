"""Grouped: which methods act in which groups of layers, the design space of S4."""

from __future__ import annotations

from typing import Any

from peftnas.spaces.domains import Subset
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.groupings import check_grouping
from peftnas.spaces.ties import unshared


class Grouped:
    """Some of several methods in each of ``n`` contiguous groups of layers.

    The layers are cut by ``grouping``; for each group a set of the methods is drawn, of which at
    least ``min_size``; then the groups outside ``tuned`` are left without any. A method has one
    draw of its fields for all its groups, unless they hold ``PerGroup`` or ``ByGroup``.

    Args:
        methods: one of a kind, each with a field ``layers``, which is left out.
        n: groups, at most the layers of the backbone.
        grouping: one of ``groupings.GROUPINGS``, a ``Choice`` of these or a ``Shared`` one.
        tuned: a ``Subset`` of the group numbers 0 .. n - 1; ``None``: all groups.
        min_size: fewest methods drawn for a group.
    Raises:
        ValueError: if one of these rules is broken.

    Source: Chen et al. 2301.01821.
    """

    kind = "groups"

    def __init__(
        self,
        *methods: Configurable,
        n: int,
        grouping: Any = "uniform",
        tuned: Subset | None = None,
        min_size: int = 1,
    ) -> None:
        if not methods:
            raise ValueError("Grouped needs at least one method, got none; name the methods")
        for method in methods:
            if not isinstance(method, Configurable) or "layers" not in settings(type(method)):
                raise ValueError(
                    f"Grouped takes methods that act in layers, got {method!r}; put it beside"
                )
            if method.layers is not None:  # type: ignore[attr-defined]
                raise ValueError(
                    f"Grouped chooses the layers of its methods, got layers={method.layers!r} "  # type: ignore[attr-defined]
                    f"in {type(method).__name__}; leave them out"
                )
        kinds = [method.kind for method in methods]
        if len(set(kinds)) < len(kinds):
            twice = next(kind for kind in kinds if kinds.count(kind) > 1)
            raise ValueError(f"Grouped takes one method of a kind, got {twice} twice; drop one")
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"Grouped needs n >= 1 groups, got {n!r}")
        check_grouping("Grouped", unshared(grouping))
        if tuned is not None and (
            not isinstance(unshared(tuned), Subset)
            or not set(unshared(tuned).items) <= set(range(n))
            or not unshared(tuned).items
        ):
            raise ValueError(
                f"Grouped's tuned must be a Subset of the groups 0..{n - 1}, got {tuned!r}; "
                f"write Subset({', '.join(map(str, range(n)))})"
            )
        if isinstance(min_size, bool) or min_size not in range(len(methods) + 1):
            raise ValueError(
                f"Grouped needs 0 <= min_size <= {len(methods)} (its methods), got {min_size!r}"
            )
        self.methods, self.n, self.grouping = methods, n, grouping
        self.tuned, self.min_size = tuned, min_size

    def choices(self) -> Subset:
        """What is drawn for one group: kinds of the methods."""
        kinds = [method.kind for method in self.methods]
        return Subset(*kinds, min_size=self.min_size)

    def _state(self) -> tuple[Any, ...]:
        return (self.methods, self.n, self.grouping, self.tuned, self.min_size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grouped) and self._state() == other._state()

    def __hash__(self) -> int:
        return hash(self._state())

    def __repr__(self) -> str:
        parts = [*map(repr, self.methods), f"n={self.n}"]
        parts += [f"grouping={self.grouping!r}"] if self.grouping != "uniform" else []
        parts += [f"tuned={self.tuned!r}"] if self.tuned is not None else []
        parts += [f"min_size={self.min_size}"] if self.min_size != 1 else []
        return f"Grouped({', '.join(parts)})"
