"""What an error of Ray says of a worker that is gone."""

from __future__ import annotations

import re

from ray.exceptions import (
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
)

from peftnas.search.pool_protocol import LossCause

# how Ray words it when the process ended because it was asked to
_ASKED = ("receives a SIGTERM", "exit code 143", "Exit code: 143")


def cause_of(error: RayError) -> LossCause:
    """Why a worker is gone."""
    if isinstance(error, OutOfMemoryError):
        return "host_memory"
    text = str(error)
    if isinstance(error, ActorUnavailableError | NodeDiedError) or "node has died" in text:
        return "node_gone"
    if any(words in text for words in _ASKED):
        return "handed_back"
    return "worker_killed"


def death_words(error: RayError, pid: int | None) -> str:
    """How a worker died, in one sentence."""
    named = "a worker" if pid is None else f"worker process {pid}"
    cause = cause_of(error)
    if cause == "host_memory":
        return f"{named} was ended by Ray: its machine ran out of memory"
    if cause == "node_gone":
        return f"{named} is gone: its node left the cluster or no longer answers"
    if cause == "handed_back":
        return f"{named} ended at a SIGTERM"
    found = re.search(r"exit type: (\w+)", str(error))
    return f"{named} died ({found[1] if found else sentence(error)})"


def sentence(error: BaseException) -> str:
    """What an error says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
