"""Record: what is known of a running trial; its result is made of it, whatever becomes of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftnas.search.jobs import TIMES, Cause, Status, TrialResult
from peftnas.search.trial.snapshot import BadSnapshotError, Snapshot, usable_snapshot

_CARRIED = (
    "curve",
    "trainable_parameters",
    "stored_bytes",
    "head_parameters",
    "measured",
)


@dataclass
class Record:
    """Of all processes that the trial ran in. Fields as in :class:`TrialResult`."""

    started: float = field(default_factory=time.perf_counter)
    step: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMES, 0.0))
    trainable_parameters: int = 0
    stored_bytes: int = 0
    head_parameters: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    resumed_from: int = 0
    refused: str = ""
    device: str = ""
    device_bytes: int = 0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside to ``times[name]``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.times[name] += time.perf_counter() - start

    @property
    def evaluated(self) -> int:
        """The last step after which there are scores; 0: none."""
        return int(self.curve[-1]["step"]) if self.curve else 0

    def ended(self, status: Status, folder: str = "") -> TrialResult:
        """The result of a trial that did not fail.

        Args:
            status: "complete" and "paused" have the scores of the last evaluation.
            folder: of the checkpoint that was written.
        """
        result = dataclasses.replace(self._result(status), checkpoint=folder or None)
        if status == "handed_back":
            return result
        metrics = {k: v for k, v in self.curve[-1].items() if k not in ("step", "loss")}
        return dataclasses.replace(result, metrics=metrics)

    def failed(self, cause: Cause, error: str) -> TrialResult:
        """The result of a trial that failed halfway."""
        return dataclasses.replace(self._result("failed"), cause=cause, error=error)

    def state(self) -> dict[str, Any]:
        """What a snapshot keeps of it, besides the losses; JSON values."""
        kept = {name: getattr(self, name) for name in _CARRIED}
        return {**kept, "times": self.times | {"wall_s": self._wall()}}

    def go_on(self, snapshot: Snapshot) -> None:
        """Continue the record of earlier processes; what was timed here is added to it."""
        state, here = snapshot.state["record"], dict(self.times)
        for name in _CARRIED:
            setattr(self, name, state[name])
        self.times = {name: value + here[name] for name, value in state["times"].items()}
        self.losses = snapshot.tensors["losses"].tolist()
        self.step = self.resumed_from = snapshot.step

    def _wall(self) -> float:
        """``times["wall_s"]`` is that of earlier processes until the trial ends."""
        return self.times["wall_s"] + time.perf_counter() - self.started

    def _result(self, status: Status) -> TrialResult:
        return TrialResult(
            status,
            step=self.step,
            curve=self.curve,
            losses=self.losses,
            timing=self.times | {"wall_s": self._wall()},
            trainable_parameters=self.trainable_parameters,
            stored_bytes=self.stored_bytes,
            head_parameters=self.head_parameters,
            measured=self.measured,
            resumed_from=self.resumed_from,
            refused=self.refused,
            device=self.device,
            device_bytes=self.device_bytes,
        )


def paused_result(folder: Path | str, key: str, seed: int, until: int) -> TrialResult | None:
    """The result of a trial that paused at a step, from the snapshot in its folder.

    Args:
        folder: of the trial.
        key: of the job that it must come from.
        seed: of that job.
        until: the step.
    Returns:
        ``None`` if no snapshot of that job lies there that can be read, or it is at another step
        or has no scores of it.
    """
    try:
        snapshot = usable_snapshot(folder, key, seed, until)
    except BadSnapshotError:
        return None
    if snapshot is None or snapshot.step != until:
        return None
    record = Record()
    record.go_on(snapshot)
    return record.ended("paused") if record.evaluated == until else None
