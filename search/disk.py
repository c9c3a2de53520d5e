"""A limit on what a study's folder takes on disk."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 5.0


@dataclass
class DiskLimit:
    """Says when the checkpoints of a study are over a limit.

    Attributes:
        folder: of the checkpoints.
        most: bytes.
    """

    folder: Path
    most: int
    _looked: float = float("-inf")
    _over: bool = False

    def __call__(self) -> bool:
        """Whether they are; looked at every five seconds."""
        if time.monotonic() - self._looked >= EVERY_S:
            self._looked = time.monotonic()
            self._over = used_bytes(self.folder) > self.most
        return self._over


def used_bytes(folder: Path) -> int:
    """What the files of a folder hold; those that vanish meanwhile hold nothing."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.stat(os.path.join(where, name)).st_size
            except FileNotFoundError:
                continue
    return total
