"""Draws of methods in one block of layers, and one method from its draws in several blocks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from peftnas.spaces.domains import Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.fields import Configurable, settings
from peftnas.spaces.sizes.assign import Unstructured, draws_by_layer
from peftnas.spaces.structure import ByLayer, PerGroup
from peftnas.spaces.tree import Walk
from peftnas.spaces.tree_nodes import Leaf

_FILLS = 5_000


def draws_in(
    method: Configurable, block: tuple[int, ...], subset: bool, n_layers: int
) -> list[Configurable]:
    """Every draw in one block, the other layers left out.

    Those in one layer are those in any other one, see :func:`at`.
    """
    if len(block) == 1 and not any(
        draws_by_layer(getattr(method, name)) for name in settings(type(method))
    ):
        drawn = [method.replace(layers=block)]
        return [method.replace(layers=()), *drawn] if subset else drawn
    layers = Subset(*block, min_size=0) if subset else block
    return [one for (one,) in joint_draws([method.replace(layers=layers)], n_layers)]


def joint_draws(methods: Sequence[Configurable], n_layers: int) -> list[tuple[Configurable, ...]]:
    """Every draw of some methods together; what they share is drawn once.

    Raises:
        Unstructured: if there are too many.
    """

    def run(choose: Any) -> tuple[Configurable, ...]:
        walk = Walk(choose, n_layers, None)
        return tuple(walk.method(Leaf("block", method)) for method in methods)

    drawn = list(itertools.islice(walks(run), _FILLS + 1))
    if len(drawn) > _FILLS:
        raise Unstructured
    return drawn


def joined(methods: Iterable[Configurable]) -> Configurable:
    """One method from its draws in several blocks."""
    first, *others = methods
    if not others:
        return first
    changes: dict[str, Any] = {
        "layers": tuple(sorted(i for one in (first, *others) for i in one.layers))  # type: ignore[attr-defined]
    }
    for name in settings(type(first)):
        tables = [getattr(one, name) for one in (first, *others)]
        if any(isinstance(table, ByLayer) for table in tables):
            known = [table for table in tables if isinstance(table, ByLayer)]
            changes[name] = ByLayer({i: v for table in known for i, v in table.items()})
    return first.replace(**changes)


def at(method: Configurable, layers: tuple[int, ...]) -> Configurable:
    """A draw in one layer, moved to other ones; a draw in none, or in these, as it is."""
    drawn: tuple[int, ...] | None = getattr(method, "layers", None)
    if not drawn or drawn == layers:
        return method
    changes: dict[str, Any] = {"layers": layers}
    for name in settings(type(method)):
        held = getattr(method, name)
        if isinstance(held, ByLayer) and held.layers == drawn:
            changes[name] = ByLayer(dict.fromkeys(layers, held[drawn[0]]))
    return method.replace(**changes)


def in_block(method: Configurable, block: tuple[int, ...]) -> Configurable:
    """A draw of one block that stands for those like it, in another one of these."""
    return at(method, block) if len(block) == 1 else method


def can_move(method: Configurable) -> bool:
    """Whether draws in one layer say what is drawn in another one.

    A value given for one layer alone could not be told from one that was drawn there.
    """
    held = (getattr(method, name) for name in settings(type(method)))
    return not any(isinstance(one, ByLayer) and len(one.layers) == 1 for one in held)


def blocks_of(method: Configurable, layers: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The layers of a method, those joined that share a group of some field."""
    group = {layer: {layer} for layer in layers}
    for name in settings(type(method)):
        held = getattr(method, name)
        if isinstance(held, PerGroup):
            for one in layers:
                for other in layers:
                    if held.group_of(one) == held.group_of(other):
                        both = group[one] | group[other]
                        for layer in both:
                            group[layer] = both
    return tuple(sorted({tuple(sorted(both)) for both in group.values()}))
