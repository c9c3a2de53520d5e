"""Hold out a part of the training rows where a source has no such split of its own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence

from peftnas.studies.tasks.errors import DataError


def hold_out(
    texts: Sequence[str],
    strata: Sequence[Hashable],
    share: float,
    seed: int,
    purpose: str,
) -> tuple[list[int], list[int]]:
    """Split rows into kept and held-out ones, class by class.

    The choice follows from the seed and the texts, not from the order of the rows. Rows of equal
    text stay together, so nothing held out was also trained on. Each class keeps a text.

    Args:
        texts: what makes a row itself (both texts of a pair).
        strata: the class of each row; one value for all where there are no classes.
        share: part of the rows of each class to hold out, in (0, 1).
        seed: the study's seed.
        purpose: ``validation`` or ``test``; each draws on its own.
    Returns:
        Numbers of the kept rows and of the held-out rows, each in order.
    Raises:
        DataError: if there are too few different texts to hold one out.
    """
    by_class: dict[Hashable, dict[str, int]] = defaultdict(dict)
    owner: dict[str, Hashable] = {}
    for text, stratum in zip(texts, strata, strict=True):
        counts = by_class[owner.setdefault(text, stratum)]
        counts[text] = counts.get(text, 0) + 1
    held: set[str] = set()
    for counts in by_class.values():
        held.update(_first(counts, round(share * sum(counts.values())), seed, purpose))
    if not held:  # every class is small: one row of the largest will do
        held.update(_first(max(by_class.values(), key=len), 1, seed, purpose))
    if not held:
        raise DataError(
            f"{purpose} must hold out at least one row of train, but its {len(texts)} rows have "
            f"no two different texts of one class; add a {purpose} split or more rows"
        )
    kept = [row for row, text in enumerate(texts) if text not in held]
    return kept, [row for row, text in enumerate(texts) if text in held]


def _first(counts: dict[str, int], wanted: int, seed: int, purpose: str) -> list[str]:
    """Texts of at least ``wanted`` rows, in the order of their rank; one text is always left."""
    taken: list[str] = []
    rows = 0
    for text in sorted(counts, key=lambda text: _rank(seed, purpose, text))[:-1]:
        if rows >= wanted:
            break
        taken.append(text)
        rows += counts[text]
    return taken


def _rank(seed: int, purpose: str, text: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{seed}/{text}".encode()).digest()
