"""Work: one training that a worker is to do, whole or up to a rung."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from peftnas.search.jobs import TrialJob
from peftnas.search.plans import Plan
from peftnas.search.records import Records


@dataclass(frozen=True)
class Work:
    """A trial to train: of the search, or a baseline.

    Attributes:
        records: of the Optuna study that it belongs to.
        number: in that study.
        plan: what to train.
        folder: of its checkpoint.
        ticket: what the proposer calls it; ``None`` for a baseline.
        rung: that it trains to, counted from 0.
        until: optimiser steps of that rung; ``None``: the whole training.
        scored: whether the trial has a score, at a lower rung.
        memory_bytes: what its worker must have at least; 0: any will do.
    """

    records: Records
    number: int
    plan: Plan
    folder: Path
    ticket: int | None = None
    rung: int = 0
    until: int | None = None
    scored: bool = False
    memory_bytes: int = 0

    @property
    def label(self) -> str:
        if self.plan.baseline is not None:
            return f"baseline {self.plan.baseline}"
        return f"trial {self.number}: {self.plan.words}"

    def job(self) -> TrialJob:
        """What the worker gets."""
        job = self.plan.job(self.number, str(self.folder), self.records.measure, self.until)
        return replace(job, memory_bytes=self.memory_bytes)
