"""Live: what a run does right now, in a file beside the study that ``status`` reads.

``OUT/live.json`` is written anew every two seconds while a driver runs, and removed at its end. A
driver that was killed leaves it behind; who reads it looks at its age.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from peftnas.search.pool_protocol import WorkerFacts

EVERY_S = 2.0
STALE_S = 30.0


@dataclass
class Costs:
    """Seconds that the driver itself has spent in this run.

    Attributes:
        ask_s: proposing trials, beside the workers; for ``asks`` requests.
        asks: requests.
        tell_s: writing results; for ``tells`` of them.
        tells: results.
    """

    ask_s: float = 0.0
    asks: int = 0
    tell_s: float = 0.0
    tells: int = 0

    def words(self) -> str:
        """Means a trial, in milliseconds."""
        ask = 1e3 * self.ask_s / max(1, self.asks)
        tell = 1e3 * self.tell_s / max(1, self.tells)
        return f"a proposal takes {ask:.0f} ms, writing a result {tell:.0f} ms"


@dataclass
class Live:
    """Writes the file of a run.

    Attributes:
        folder: of the study.
        workers: says what each worker does.
        costs: of the driver, renewed by it.
        clock: seconds; a monotonic clock.
    """

    folder: Path
    workers: Callable[[], Sequence[WorkerFacts]]
    costs: Costs = field(default_factory=Costs)
    clock: Callable[[], float] = time.monotonic
    _written: float = float("-inf")

    def renew(self, **facts: Any) -> None:
        """Write the file, if the last time is long enough ago."""
        if self.clock() - self._written < EVERY_S:
            return
        self._written = self.clock()
        now = {"at": time.time(), "workers": [asdict(one) for one in self.workers()]}
        draft = self.folder / ".live.part"  # one process writes here at a time
        try:
            draft.write_text(json.dumps(now | {"costs": asdict(self.costs)} | facts))
            os.replace(draft, _file(self.folder))
        except OSError:
            # a full disk ends a run where the study cannot be written, not for a display
            draft.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file."""
        _file(self.folder).unlink(missing_ok=True)


def read_live(folder: Path) -> dict[str, Any] | None:
    """What the run in ``folder`` did a moment ago; ``None`` without a run, or a recent word of it.

    Args:
        folder: of the study.
    """
    try:
        found: dict[str, Any] = json.loads(_file(folder).read_text())
    except (OSError, ValueError):  # there is none, or it is no JSON of ours
        return None
    return found if 0 <= time.time() - found["at"] < STALE_S else None


def worker_words(facts: Mapping[str, Any]) -> str:
    """One line on a worker, such as ``worker 0 on vm: trial 12 at step 30 for 4 s``."""
    where = f" on {facts['host']}" if facts["host"] else ""
    doing = facts["state"]
    if facts["trial"] is not None:
        doing = f"trial {facts['trial']} at step {facts['step']}"
    waited = f", has waited {facts['idle_s']:.1f} s in all"
    note = f" ({facts['note']})" if facts["note"] else ""
    return f"worker {facts['number']}{where}: {doing} for {facts['state_s']:.0f} s{waited}{note}"


def _file(folder: Path) -> Path:
    return folder / "live.json"
