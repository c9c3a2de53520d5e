"""What is wrong with a task's data."""

from __future__ import annotations

from peftnas.search.errors import UsageError


class DataError(UsageError):
    """The data of a task cannot be used as they are; the message says why and what to do."""
