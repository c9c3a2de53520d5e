"""What one call of run_study did, as values and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from peftnas.search.driver import Stopped


@dataclass(frozen=True)
class RunSummary:
    """What one call of ``run_study`` did.

    Attributes:
        name: of the study.
        storage_url: where it is kept.
        out: folder of its files.
        stopped: "done" (the asked number is reached), "time", "interrupted", "exhausted" (the
            space holds nothing new), "failing" (training after training failed), "disk"
            (checkpoints are over the limit).
        kept: trials that had a score before this call.
        trained: trials that got one in this call.
        whole: trials of the study that were trained to the end; with halving the others were
            stopped early, or wait.
        resumed: trials that an earlier run had left and this call trained or told.
        failed: trainings of this call that failed.
        refused: proposals of this call that were not trained.
        handed_back: trials that were running when it was interrupted.
        last_failure: why the last failed training failed; "" without one.
        timing: see ``Timing.summary``.
        wall_s: seconds of the whole call.
    """

    name: str
    storage_url: str
    out: str
    stopped: Stopped
    kept: int
    trained: int
    whole: int
    resumed: int
    failed: int
    refused: int
    handed_back: int
    last_failure: str
    timing: dict[str, Any]
    wall_s: float

    @property
    def ok(self) -> bool:
        """Whether the work did not fail."""
        return self.stopped != "failing"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"ok": self.ok}

    def words(self) -> str:
        """What happened, in a few lines."""
        lines = [
            f"{self.kept} finished trials were kept, {self.trained} were trained now"
            + (f" ({self.resumed} of them left by an earlier run)" if self.resumed else "")
            + f", {self.failed} failed, proposals refused (repeats, over a limit): {self.refused}."
        ]
        tried = self.kept + self.trained
        if self.whole < tried:
            lines.append(f"{self.whole} of {tried} were trained whole, the others fewer steps.")
        endings = {
            "time": "The time is up; the same command goes on.",
            "interrupted": f"Stopped: {self.handed_back} trials under way were handed back; "
            "the same command goes on.",
            "exhausted": "The space is exhausted: every architecture and recipe in it was tried.",
            "disk": "Stopped, since checkpoints take more than --max-disk allows; raise it, and "
            "the same command goes on.",
            "failing": f"Stopped, since training after training failed: {self.last_failure}",
        }
        if self.stopped in endings:
            lines.append(endings[self.stopped])
        return "\n".join(lines)
