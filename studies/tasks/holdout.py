"""Hold out a part of the training rows where a source has no such split of its own."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence

from peftnas.studies.tasks.errors import DataError


def hold_out(
    texts: Sequence[str],
    strata: Sequence[Hashable],
    share: float,
    seed: int,
    purpose: str,
    *,
    elsewhere: Collection[str] = (),
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
        elsewhere: texts of other splits, which are never held out.
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
        wanted = round(share * sum(counts.values()))
        held.update(_first(counts, wanted, seed, purpose, elsewhere))
    if not held:  # every class is small: one row of the largest will do
        for counts in sorted(by_class.values(), key=len, reverse=True):
            held.update(_first(counts, 1, seed, purpose, elsewhere) if not held else ())
    if not held:
        others = " that no test or validation split has too" if elsewhere else ""
        raise DataError(
            f"{purpose} must hold out at least one row of train, but it got {len(texts)} rows "
            f"with no two different texts of one class{others}; add a {purpose} split or more rows"
        )
    kept = [row for row, text in enumerate(texts) if text not in held]
    return kept, [row for row, text in enumerate(texts) if text in held]


def _first(
    counts: dict[str, int], wanted: int, seed: int, purpose: str, elsewhere: Collection[str]
) -> list[str]:
    """Texts of at least ``wanted`` rows, in the order of their rank; one text is always left."""
    taken: list[str] = []
    rows = 0
    for text in sorted(counts, key=lambda text: _rank(seed, purpose, text))[:-1]:
        if rows >= wanted:
            break
        if text in elsewhere:
            continue
        taken.append(text)
        rows += counts[text]
    return taken


def _rank(seed: int, purpose: str, text: str) -> bytes:
    return hashlib.sha256(f"{purpose}/{seed}/{text}".encode()).digest()
