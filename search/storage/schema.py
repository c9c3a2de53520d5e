"""The number that says how a study is stored, and what is done with one of another number.

0: studies stored before there was a number. 1: the number itself; nothing else differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from optuna.storages import BaseStorage

from peftnas.search.errors import UsageError

SCHEMA = "peftnas_schema"  # user attribute of a study
NUMBER = 1
"""How studies are stored by this version of the package."""

Upgrade = Callable[[BaseStorage, int], None]


def _as_it_is(storage: BaseStorage, study_id: int) -> None:
    """Only the number changes."""


UPGRADES: Mapping[int, Upgrade] = {0: _as_it_is}
"""What makes a stored study of a number one of the next; readers understand these without it."""


def check_schema(name: str, found: int) -> None:
    """Refuse a study that this version cannot read.

    Args:
        name: of the study.
        found: its number.
    Raises:
        UsageError: if it was stored by a newer version, or by one that is too old.
    """
    remedy = "install that version, or give the study another name or another --storage"
    if found > NUMBER:
        raise UsageError(
            f"study {name!r} was stored by a newer peftnas (schema {found}, this one knows up to "
            f"{NUMBER}); {remedy}"
        )
    lacking = [number for number in range(found, NUMBER) if number not in UPGRADES]
    if lacking:
        raise UsageError(
            f"study {name!r} was stored by an older peftnas (schema {found}, this one knows "
            f"{lacking[-1] + 1} to {NUMBER}); {remedy}"
        )


def upgrade(storage: BaseStorage, study_id: int, found: int) -> None:
    """Make a checked study one of this version's number; killed in between, it goes on there."""
    for number in range(found, NUMBER):
        UPGRADES[number](storage, study_id)
        storage.set_study_user_attr(study_id, SCHEMA, number + 1)
