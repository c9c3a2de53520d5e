"""How the layers of a backbone are cut into contiguous groups, those of each stack by themselves.

The five shapes of S4 (Chen et al. 2301.01821): groups of equal size, growing or shrinking ones,
large ones in the middle (spindle) or at the ends (bottleneck).
"""

from __future__ import annotations

import functools
from typing import Any

from peftnas.spaces.domains import Choice
from peftnas.spaces.nearest import did_you_mean

GROUPINGS = ("uniform", "increasing", "decreasing", "spindle", "bottleneck")


@functools.cache
def group_sizes(n: int, n_layers: int, grouping: str = "uniform") -> tuple[int, ...]:
    """Layers of each of the ``n`` groups of one stack.

    Sizes are in proportion to 1 .. n (increasing), n .. 1 (decreasing), the distance from the
    nearer end (spindle) or from the middle (bottleneck); what is left over of whole layers goes
    to the largest remainders, to the lower group among equals; a group that would have none takes
    one from the largest. With "uniform" the first ``n_layers mod n`` groups have one layer more.

    Args:
        n: groups, 1 .. ``n_layers``.
        n_layers: layers of the stack.
        grouping: one of ``GROUPINGS``.
    """
    weights = _weights(n, grouping)
    sizes = [n_layers * weight // sum(weights) for weight in weights]
    remainders = [n_layers * weight % sum(weights) for weight in weights]
    by_remainder = sorted(range(n), key=lambda group: (-remainders[group], group))
    for group in by_remainder[: n_layers - sum(sizes)]:
        sizes[group] += 1
    for group, size in enumerate(sizes):
        if size == 0:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[group] = 1
    return tuple(sizes)


@functools.cache
def cut(n: int, stacks: tuple[int, ...], grouping: str = "uniform") -> tuple[tuple[int, ...], ...]:
    """The layers of each group of a backbone, an encoder's groups before those of its decoder.

    Each stack of layers is cut by itself and in the same way, so that no group holds layers of
    two. A stack of fewer than ``n`` layers has a group for each layer.

    Args:
        n: groups of each stack, at least 1.
        stacks: how many layers each stack has.
        grouping: one of ``GROUPINGS``.
    """
    groups: list[tuple[int, ...]] = []
    first = 0
    for n_layers in stacks:
        for size in group_sizes(min(n, n_layers), n_layers, grouping):
            groups.append(tuple(range(first, first + size)))
            first += size
    return tuple(groups)


@functools.cache
def group_numbers(n: int, stacks: tuple[int, ...], grouping: str = "uniform") -> tuple[int, ...]:
    """The group (0-based) of each layer; see :func:`cut`."""
    groups = cut(n, stacks, grouping)
    return tuple(number for number, layers in enumerate(groups) for _ in layers)


def number_of_groups(n: int, stacks: tuple[int, ...]) -> int:
    """How many groups there are in all stacks together; see :func:`cut`."""
    return sum(min(n, n_layers) for n_layers in stacks)


def check_grouping(name: str, grouping: Any) -> None:
    """Raise ValueError unless it is one of ``GROUPINGS``, a ``Choice`` of them or a shared one."""
    grouping = getattr(grouping, "domain", grouping)  # of a Shared
    options = grouping.options if isinstance(grouping, Choice) else (grouping,)
    if isinstance(grouping, list | tuple):
        raise ValueError(
            f"{name} needs a grouping of {', '.join(GROUPINGS)} or a Choice of them, got "
            f"{grouping!r}; write Choice({', '.join(map(repr, grouping))})"
        )
    for option in options:
        if option not in GROUPINGS:
            raise ValueError(
                f"{name} needs a grouping of {', '.join(GROUPINGS)} or a Choice of them, got "
                f"{option!r}; {did_you_mean(str(option), GROUPINGS)}"
            )


def _weights(n: int, grouping: str) -> list[int]:
    match grouping:
        case "increasing":
            return list(range(1, n + 1))
        case "decreasing":
            return list(range(n, 0, -1))
        case "spindle":
            return [min(group, n - 1 - group) + 1 for group in range(n)]
        case "bottleneck":
            middle = (n - 1) // 2
            return [middle + 1 - min(group, n - 1 - group) for group in range(n)]
        case _:
            return [1] * n
