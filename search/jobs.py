"""What goes to a worker and what comes back: plain data, JSON both ways."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["complete", "failed"]
Cause = Literal["diverged", "out_of_memory", "error"]

TIMES = ("setup_s", "measure_s", "train_s", "evaluate_s", "save_s", "wall_s")


@dataclass(frozen=True)
class TrialJob:
    """One trial to run.

    Attributes:
        number: the trial's number in its study.
        architecture: the canonical architecture, as ``Architecture.to_dict`` writes it.
        recipe: as ``Recipe.to_dict`` writes it.
        seed: everything random in the trial comes from it; see ``seeds.derive_seed``.
        key: says which training this is; a checkpoint counts only for a job of equal key.
        folder: absolute path of the checkpoint to write; empty: none is written.
        measure: costs to measure besides those of every training step, such as
            ``inference_overhead``.
        memory_bytes: what its worker must have at least, such as the predicted peak; 0: any will
            do.
    """

    number: int
    architecture: dict[str, Any]
    recipe: dict[str, Any]
    seed: int
    key: str
    folder: str = ""
    measure: tuple[str, ...] = ()
    memory_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialJob:
        return cls(**values | {"measure": tuple(values.get("measure", ()))})


@dataclass(frozen=True)
class TrialResult:
    """What became of one trial.

    Attributes:
        status: "complete", or "failed" by the trial's own fault.
        cause: why it failed; ``None`` when complete.
        error: one sentence ("diverged", "out_of_memory") or a traceback ("error"); else empty.
        metrics: scores on validation at the last step; empty when failed.
        curve: one entry an evaluation: ``step``, ``loss`` on validation, and every metric.
        losses: training loss of every step.
        timing: seconds by :data:`TIMES`; ``wall_s`` is the whole trial.
        trainable_parameters: elements that the methods train, head excluded.
        stored_bytes: float32 bytes to keep after folding, head excluded.
        head_parameters: elements of the head; the same for all architectures of a study.
        measured: costs that were measured, by name; see ``objectives.COSTS``.
        checkpoint: folder of the written checkpoint, if any.
    """

    status: Status
    cause: Cause | None = None
    error: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)
    trainable_parameters: int = 0
    stored_bytes: int = 0
    head_parameters: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    checkpoint: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialResult:
        return cls(**values)
