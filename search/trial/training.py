"""Training: the steps of one trial, which can stop between any two of them and go on later.

Nothing in it depends on where it stopped: batches and all random draws follow from the trial's
seed and the number of the step, so neither an evaluation nor a pause changes what comes after.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from peftnas.methods.measured_memory import owned_by
from peftnas.search.jobs import TrialJob
from peftnas.search.recipe import Recipe
from peftnas.search.seeds import child_seed
from peftnas.search.trial.batches import training_order
from peftnas.search.trial.bench import Bench, Examples
from peftnas.search.trial.classifier import Classifier
from peftnas.search.trial.losses import losses_of, prune
from peftnas.search.trial.measure import StepMeter
from peftnas.search.trial.optimiser import Learner, evaluation_steps
from peftnas.search.trial.record import Record
from peftnas.search.trial.snapshot import BadSnapshotError, Snapshot, write_snapshot
from peftnas.spaces.fields import held

WRITING_PART = 0.05
"""Part of the time that snapshots on the way may take, where one takes long to write."""


class Diverged(ArithmeticError):
    """The loss, or a score, is no longer a finite number."""


class Training:
    """The state of a trial between two steps.

    Args:
        bench: where it trains.
        job: what is trained.
        recipe: of the job.
        classifier: untrained.
        examples: of the bench.
        record: what becomes known is written there.
    """

    def __init__(
        self,
        bench: Bench,
        job: TrialJob,
        recipe: Recipe,
        classifier: Classifier,
        examples: Examples,
        record: Record,
    ) -> None:
        self._bench, self._job, self._recipe = bench, job, recipe
        self._classifier, self._examples, self._record = classifier, examples, record
        self._steps = held(recipe.steps)
        attached, head = classifier.attached, classifier.head
        self._learner = Learner(
            attached.parameters(), head.parameters(), recipe, attached.rates(), attached.arms()
        )
        owned = owned_by(classifier.base, attached, head)
        self._meter = StepMeter(owned, self._learner.optimiser, bench.device)
        self._prunes = attached.steps.needs_pruning  # which takes a batch of its own
        self._written = (0, 0)  # step of the snapshot on disk, and of its last evaluation
        self._writing_s = 0.0
        self._since = time.perf_counter()

    def go_on(self, snapshot: Snapshot) -> None:
        """Take up the state of a snapshot.

        Raises:
            BadSnapshotError: if it is that of other modules; the training is as it was.
        """
        found = snapshot.tensors
        self._check_fits(found)
        self._classifier.attached.load_state_dict(_below("modules", found))
        self._classifier.head.load_state_dict(_below("head", found))
        self._learner.go_on(_below("optimiser", found))
        self._meter.go_on(snapshot.state["meter"], found["seconds"].tolist())
        self._record.go_on(snapshot)
        self._written = (self._record.step, self._record.evaluated)

    def run(self, until: int, stop: Callable[[], bool], beat: Callable[[int], None]) -> bool:
        """Train on to a step, and evaluate there.

        Args:
            until: number of steps, of all that were made.
            stop: asked between steps whether to end before.
            beat: told the number of steps so far, whenever the backbone is called.
        Returns:
            Whether that step was reached; if not, a snapshot was written.
        Raises:
            Diverged: if a loss or a score is not finite.
            CannotSaveError: if a snapshot cannot be written.
        """

        def hear(*_: Any) -> None:
            beat(self._record.step)

        hear()
        hook = self._classifier.base.register_forward_pre_hook(hear)
        try:
            return self._run(until, stop)
        finally:
            hook.remove()

    def save(self) -> None:
        """Write a snapshot, if the trial has a folder and knows more than the one there.

        Raises:
            CannotSaveError: if it cannot be written.
        """
        record = self._record
        known = (record.step, record.evaluated)
        if not self._job.folder or known == self._written:
            return
        started = time.perf_counter()
        with record.timed("save_s"):
            state = {"record": record.state(), "meter": self._meter.state()}
            tensors = self._tensors() | {
                "losses": torch.tensor(record.losses, dtype=torch.float64),
                "seconds": torch.tensor(self._meter.seconds(), dtype=torch.float64),
                **_named("optimiser", self._learner.state()),
            }
            job = self._job
            snapshot = Snapshot(job.key, job.seed, record.step, state, tensors)
            write_snapshot(Path(job.folder), snapshot)
        self._written = known
        self._since = time.perf_counter()
        self._writing_s = self._since - started

    def _run(self, until: int, stop: Callable[[], bool]) -> bool:
        record, recipe = self._record, self._recipe
        marks = {*evaluation_steps(self._steps, held(recipe.evaluations)), until}
        self._classifier.train()
        batches = self._batches()
        while not stop():
            if record.step in marks and record.evaluated < record.step:
                with record.timed("evaluate_s"):
                    record.curve.append(self._evaluate())
                self._classifier.train()
            if record.step == until:
                record.measured |= self._meter.measured()
                return True
            if self._is_due():
                self.save()
            with record.timed("train_s"):
                self._step(next(batches))
        self.save()
        return False

    def _batches(self) -> Iterator[npt.NDArray[np.int64]]:
        """Row numbers of the batches from this step on; prunes by the first one of all."""
        lengths, size = self._examples.train.lengths, held(self._recipe.batch_size)
        seed, step, extra = self._job.seed, self._record.step, self._classifier.attached.steps
        if extra.needs_pruning:
            with self._record.timed("train_s"):
                first = next(training_order(lengths, size, seed))
                self._seed_draws("pruning", 0)
                prune(self._classifier, self._examples.train.batch(first, self._bench.device))
        return training_order(lengths, size, seed, step + self._prunes)

    def _step(self, rows: npt.NDArray[np.int64]) -> None:
        extra, record, steps = self._classifier.attached.steps, self._record, self._steps
        draws, step = child_seed(self._job.seed, "modules"), record.step
        batch = self._examples.train.batch(rows, self._bench.device)
        self._seed_draws("dropout", step)
        with self._meter.step(batch.inputs()):
            extra.begin(step, steps, draws)
            loss, objective = losses_of(self._classifier, batch, step, steps, draws)
            record.losses.append(_finite(float(loss.detach()), "the training loss", step + 1))
            self._learner.step(objective, step)
            extra.end(step, steps)
        record.step = step + 1

    def _evaluate(self) -> dict[str, float]:
        """One entry of the learning curve."""
        step, rows = self._record.step, self._examples.validation
        self._seed_draws("evaluation", step)
        found = self._classifier.evaluate(rows)
        entry = {"step": step, "loss": _finite(found.loss, "the validation loss", step)}
        for name, value in self._bench.task.score(found.predictions, rows.labels).items():
            entry[name] = _finite(float(value), name, step)
        return entry

    def _is_due(self) -> bool:
        """Whether it is time for a snapshot on the way."""
        every, since = self._job.snapshot_every_s, time.perf_counter() - self._since
        return every > 0 and since >= max(every, self._writing_s / WRITING_PART)

    def _seed_draws(self, purpose: str, step: int) -> None:
        """Make torch's draws those of this step, whatever was drawn before."""
        seed = child_seed(self._job.seed, purpose, step)
        torch.default_generator.manual_seed(seed)
        if self._bench.device != "cpu":
            torch.cuda.manual_seed(seed)

    def _check_fits(self, found: Mapping[str, Tensor]) -> None:
        """Refuse the tensors of other modules, or of an optimiser that moves others."""
        here = self._tensors()
        there = {
            name: value for name, value in found.items() if name.startswith(("modules.", "head."))
        }
        for name in sorted({*here, *there}):
            if name not in here or name not in there or not _alike(here[name], there[name]):
                raise BadSnapshotError(f"the snapshot does not fit the trial: {name} is another")
        if not self._learner.fits(_below("optimiser", found)):
            raise BadSnapshotError("the snapshot does not fit the trial: other tensors moved")

    def _tensors(self) -> dict[str, Tensor]:
        """What is trained, and what modules keep besides."""
        attached, head = self._classifier.attached, self._classifier.head
        return _named("modules", attached.state_dict()) | _named("head", head.state_dict())


def _named(prefix: str, tensors: dict[str, Any]) -> dict[str, Tensor]:
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"what a module keeps between steps must be a tensor, got {type(value).__name__} "
                f"for {name!r}; register it as a buffer"
            )
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def _alike(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype)


def _below(prefix: str, tensors: Any) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {n.removeprefix(start): value for n, value in tensors.items() if n.startswith(start)}


def _finite(value: float, what: str, step: int) -> float:
    if not math.isfinite(value):
        raise Diverged(f"{what} is {value} after step {step}")
    return value
