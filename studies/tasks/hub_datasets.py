"""Data sets of the Hugging Face hub; asked for only when a task is opened."""

from __future__ import annotations

from typing import Any

from peftnas.studies.hub import offline_when_unreachable
from peftnas.studies.tasks.errors import DataError


def open_hub(name: str, config: str | None) -> dict[str, Any]:
    """Splits by name of a hub data set, downloaded or taken from the cache.

    Args:
        name: such as ``nyu-mll/glue``.
        config: such as ``sst2``; ``None`` for a data set that has only one.
    Raises:
        DataError: if the hub has no such data set, or cannot be reached and the cache has none.
    """
    import datasets

    with offline_when_unreachable() as offline:
        try:
            return dict(datasets.load_dataset(name, config))
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            reason = offline or said
            raise DataError(
                f"data {name!r} is no file or folder here, and the hub gave no such data set "
                f"({reason}); check the name, or give the folder it lies in with --data"
            ) from error
