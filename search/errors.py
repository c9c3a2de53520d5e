"""The error of a wrong study, space, option or storage: one sentence for the user."""

from __future__ import annotations


class UsageError(ValueError):
    """Something the user can put right; found before anything is trained.

    Its text is one sentence: the rule, the value, the remedy. The command line prints it and
    exits with 2.
    """


class NoRoomError(UsageError):
    """A prompt, or what is to be written, leaves no room for a text."""


class CannotSaveError(RuntimeError):
    """The checkpoint of a trial cannot be written; not the fault of its architecture."""
