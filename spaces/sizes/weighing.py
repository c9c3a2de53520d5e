"""What the parameters of a letter count as when words are counted."""

from __future__ import annotations

import functools

from peftnas.spaces.sizes.points import Weigh


def exactly(count: int) -> int:
    """Parameters as they are."""
    return count


def alike(count: int) -> int:
    """Whatever the parameters."""
    return 0


@functools.cache
def rounded(step: int, up: bool) -> Weigh:
    """Parameters as a multiple of ``step``."""

    def weigh(count: int) -> int:
        return (count + step - 1 if up else count) // step * step

    return weigh
