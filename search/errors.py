"""The error of a wrong study, space, option or storage: one sentence for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Something the user can put right; found before anything is trained.

    Its text is one sentence: the rule, the value, the remedy. The command line prints it and
    exits with 2.

    Attributes:
        argument: name of the argument of ``Study`` that it is about, such as ``task``; "" where
            that is not known.
    """

    argument: str = ""


@contextmanager
def about(argument: str) -> Iterator[None]:
    """Say of any ValueError which argument of ``Study`` it is about.

    Raises:
        UsageError: in place of the ValueError, in one line.
    """
    try:
        yield
    except UsageError as error:
        error.argument = error.argument or argument
        raise
    except ValueError as error:
        usage = UsageError(" ".join(str(error).split()))
        usage.argument = argument
        raise usage from error


class StorageError(RuntimeError):
    """The storage cannot be written any more; what was finished is kept in it.

    Its text is one sentence for the user. See ``storage/failures.py`` for its kinds.
    """


class NoRoomError(UsageError):
    """A prompt, or what is to be written, leaves no room for a text."""


class CannotSaveError(RuntimeError):
    """The checkpoint of a trial cannot be written; not the fault of its architecture."""
