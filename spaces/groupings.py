"""How the layers of a backbone are cut into contiguous groups.

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
    """Layers of each of ``n`` groups.

    Sizes are in proportion to 1 .. n (increasing), n .. 1 (decreasing), the distance from the
    nearer end (spindle) or from the middle (bottleneck); what is left over of whole layers goes
    to the largest remainders, to the lower group among equals; a group that would have none takes
    one from the largest. With "uniform" the first ``n_layers mod n`` groups have one layer more.

    Args:
        n: groups, 1 .. ``n_layers``.
        n_layers: layers of the backbone.
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
def group_of(layer: int, n: int, n_layers: int, grouping: str = "uniform") -> int:
    """The group (0-based) that a layer belongs to; see :func:`group_sizes`."""
    end = 0
    for group, size in enumerate(group_sizes(n, n_layers, grouping)):
        end += size
        if layer < end:
            return group
    raise ValueError(f"a layer must be one of 0..{n_layers - 1}, got {layer}")


def layers_of(group: int, n: int, n_layers: int, grouping: str = "uniform") -> tuple[int, ...]:
    """The layers of a group, ascending."""
    sizes = group_sizes(n, n_layers, grouping)
    first = sum(sizes[:group])
    return tuple(range(first, first + sizes[group]))


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
