"""log.jsonl: what happened in a study, one JSON object a line."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Self


class EventLog:
    """Appends events to a file; a line is written at once, so a killed process loses none.

    Args:
        file: made with its folder when it is not there.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torn = file.exists() and file.read_bytes()[-1:] not in (b"", b"\n")
        self._stream = file.open("a", encoding="utf-8")
        if torn:  # by a kill in the middle of a line
            self._stream.write("\n")

    def write(self, event: str, **fields: Any) -> None:
        """Append one event with the time of day."""
        line = {"time": datetime.now().astimezone().isoformat(timespec="milliseconds")}
        self._stream.write(json.dumps(line | {"event": event} | fields) + "\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
