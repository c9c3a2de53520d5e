"""What goes to a worker and what comes back: plain data, JSON both ways."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["complete", "paused", "handed_back", "failed"]
Cause = Literal["diverged", "out_of_memory", "error", "lost"]

SNAPSHOT_EVERY_S = 60.0
"""Seconds of training that a killed worker loses at most, about."""

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
        folder: absolute path of the checkpoint to write, and of the snapshot while the trial is
            not at its end; empty: none is written.
        measure: costs to measure besides those of every training step, such as
            ``inference_overhead``.
        until: optimiser step to train to, from 1 to the recipe's ``steps``; ``None``: to the end.
            The learning rate follows the whole recipe in any case. Less than all needs a folder.
        snapshot_every_s: seconds between two snapshots on the way there; 0: none is made.
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
    until: int | None = None
    snapshot_every_s: float = SNAPSHOT_EVERY_S
    memory_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialJob:
        return cls(**values | {"measure": tuple(values.get("measure", ()))})


@dataclass(frozen=True)
class TrialResult:
    """What became of one trial; of all that it did so far, whatever processes it ran in.

    Attributes:
        status: "complete"; "paused" at a step before the last, as asked, with a snapshot to go on
            from; "handed_back" on request between two steps, the same without scores; or "failed"
            by the trial's own fault.
        cause: why it failed; else ``None``.
        error: one sentence ("diverged", "out_of_memory", "lost": with its worker, too often) or a
            traceback ("error"); else empty.
        step: optimiser steps that were made.
        metrics: scores on validation at that step; empty when failed or handed back.
        curve: one entry an evaluation: ``step``, ``loss`` on validation, and every metric.
        losses: training loss of every step.
        timing: seconds by :data:`TIMES`; ``wall_s`` is the whole trial.
        trainable_parameters: elements that the methods train, head excluded.
        stored_bytes: float32 bytes to keep after folding, head excluded.
        head_parameters: elements of the head; the same for all architectures of a study.
        measured: costs that were measured, by name; see ``objectives.COSTS``.
        checkpoint: folder of the written checkpoint, if any.
        resumed_from: step of the snapshot that the last of its processes went on from; 0: none.
        refused: why a snapshot that lay in the folder was not gone on from; else empty.
        device: name of what it ran on, such as "cpu" or "NVIDIA H200".
        device_bytes: all the memory of that device, whoever else uses it.
    """

    status: Status
    cause: Cause | None = None
    error: str = ""
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)
    trainable_parameters: int = 0
    stored_bytes: int = 0
    head_parameters: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    resumed_from: int = 0
    refused: str = ""
    device: str = ""
    device_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrialResult:
        return cls(**values)
