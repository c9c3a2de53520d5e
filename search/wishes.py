"""Wishes: how somebody asks a run to end, by a signal or from another process.

- "finish": nothing new starts; what trains now is finished, up to its rung with halving.
- "now": what trains is handed back; the next run goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import optuna

from peftnas.search.errors import UsageError
from peftnas.search.storage import StudyStorage, writer_of

Wish = Literal["go on", "finish", "now"]

_STOP = "peftnas_stop"  # user attribute of a study


def ask_to_stop(storage: StudyStorage, name: str, *, now: bool = False) -> str:
    """Ask the process that runs a study to end; it looks every two seconds.

    Args:
        storage: that holds the study.
        name: of the study.
        now: hand back what trains, instead of finishing it.
    Returns:
        Who was asked, in words.
    Raises:
        UsageError: if nobody runs the study.
    """
    seen = writer_of(storage, name)
    if seen is None:
        raise UsageError(f"nobody runs study {name!r} now; there is nothing to stop")
    study_id = storage.get_study_id_from_name(name)
    wish: Wish = "now" if now else "finish"
    storage.set_study_user_attr(study_id, _STOP, {"wish": wish, "token": seen.token})
    return seen.holder.words()


class AskedToStop:
    """What others asked of this run.

    Args:
        study: that is run.
        token: of the lease that this run holds; what was asked of an earlier one does not count.
        look_every_s: seconds between two looks.
    """

    def __init__(self, study: optuna.Study, token: str, look_every_s: float = 2.0) -> None:
        self._study, self._token, self._look_every_s = study, token, look_every_s
        self._looked = time.monotonic()
        self._wish: Wish = "go on"

    def __call__(self) -> Wish:
        """The wish by now; looking costs a read of the storage."""
        since = time.monotonic() - self._looked
        if self._wish != "now" and since >= self._look_every_s:
            self._looked = time.monotonic()
            asked: dict[str, Any] = self._study.user_attrs.get(_STOP, {})
            if asked.get("token") == self._token:
                self._wish = asked["wish"]
        return self._wish


def either(signalled: Callable[[], bool], asked: Callable[[], Wish]) -> Callable[[], Wish]:
    """A signal is a wish to end now, whatever others ask."""

    def wish() -> Wish:
        return "now" if signalled() else asked()

    return wish
