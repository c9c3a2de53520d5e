"""The error of work that was rightly asked for and failed."""

from __future__ import annotations


class WorkFailedError(RuntimeError):
    """The work failed, and its text says why in one sentence; the command line exits with 1."""
