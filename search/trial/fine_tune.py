"""Trial: fine-tune one architecture on the resident backbone, score it, keep its tensors."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

from peftnas.methods import attach, stored_bytes
from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.recipe import Recipe
from peftnas.search.seeds import child_seed
from peftnas.search.trial.artifact import commit, write_tensors
from peftnas.search.trial.bench import Bench, BenchSpec
from peftnas.search.trial.classifier import Classifier
from peftnas.search.trial.overhead import OVERHEADS, measure_overheads
from peftnas.search.trial.reading import room_beside
from peftnas.search.trial.record import Record
from peftnas.search.trial.snapshot import (
    BadSnapshotError,
    Snapshot,
    remove_snapshot,
    usable_snapshot,
)
from peftnas.search.trial.training import Diverged, Training
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import held

__all__ = ["Bench", "BenchSpec", "TrialJob", "TrialResult", "run_trial"]

_ALLOCATOR_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


def run_trial(
    bench: Bench,
    job: TrialJob,
    stop: Callable[[], bool] = lambda: False,
    beat: Callable[[int], None] = lambda step: None,
) -> TrialResult:
    """Train and score one architecture; what goes wrong in it is part of the result.

    The result is a function of the job and of what the bench holds, not of earlier trials: on one
    CPU thread it is the same bit for bit, also where the trial stopped on the way. The backbone is
    left as it was.

    A job with a ``folder`` goes on from the snapshot there, if it is one of equal key and seed and
    not beyond the step that the job asks for. A trial that is paused or handed back leaves a
    snapshot there; a complete one its checkpoint alone; one that failed nothing, except for a
    snapshot where memory ran out, since another device may have more.

    Args:
        bench: the resident backbone and data.
        job: what to train.
        stop: asked between two steps; once it says so, the trial is handed back.
        beat: told the optimiser steps so far, before the first one and whenever the backbone is
            called: at least once a step, and all through an evaluation.
    Raises:
        CannotSaveError: if a checkpoint or snapshot cannot be written, which is no fault of the
            job's; what was written before is still there.
    """
    record = Record(device=bench.device_name, device_bytes=bench.device_bytes)
    try:
        return _run(bench, job, record, stop, beat)
    except CannotSaveError:
        raise  # the worker's loss, so the trial runs again
    except Diverged as error:
        result = record.failed("diverged", str(error))
    except Exception as error:  # an architecture may fail in any way; the worker goes on
        if _is_memory(error):
            result = record.failed("out_of_memory", f"{type(error).__name__}: {error}")
        else:
            result = record.failed("error", traceback.format_exc())
    _release(bench.device)
    if job.folder and result.cause != "out_of_memory":
        remove_snapshot(job.folder)
    return result


def _run(
    bench: Bench,
    job: TrialJob,
    record: Record,
    stop: Callable[[], bool],
    beat: Callable[[int], None],
) -> TrialResult:
    with record.timed("setup_s"):
        recipe = Recipe.from_dict(job.recipe)
        until = _last_step(job, held(recipe.steps))
        snapshot = _snapshot(job, until, record)
    if snapshot is None:
        with record.timed("measure_s"):
            record.measured |= _overheads(bench, job, recipe)
    with record.timed("setup_s"):
        classifier = build_classifier(bench, job, recipe)
    try:
        with record.timed("setup_s"):
            training = _training(bench, job, recipe, classifier, snapshot, record)
        if not training.run(until, stop, beat):
            return record.ended("handed_back")
        if until < held(recipe.steps):
            training.save()
            return record.ended("paused")
        if not job.folder:
            return record.ended("complete")
        with record.timed("save_s"):
            draft = write_tensors(Path(job.folder), classifier, bench.backbone)
        result = record.ended("complete", job.folder)
        commit(draft, Path(job.folder), job, result, bench.facts())
        return result
    finally:
        classifier.detach()


def _last_step(job: TrialJob, steps: int) -> int:
    """The step that a job trains to."""
    until = steps if job.until is None else job.until
    if not 1 <= until <= steps:
        raise ValueError(f"until must be from 1 to the recipe's {steps} steps, got {until}")
    if until < steps and not job.folder:
        raise ValueError(f"a trial that pauses at step {until} needs a folder for its snapshot")
    return until


def _snapshot(job: TrialJob, until: int, record: Record) -> Snapshot | None:
    """The snapshot to go on from; one that was refused is on record, and replaced by the next."""
    try:
        return usable_snapshot(job.folder, job.key, job.seed, until) if job.folder else None
    except BadSnapshotError as error:
        record.refused = str(error)
        return None


def _training(
    bench: Bench,
    job: TrialJob,
    recipe: Recipe,
    classifier: Classifier,
    snapshot: Snapshot | None,
    record: Record,
) -> Training:
    """The training of a job, at the step where it goes on."""
    room = room_beside(classifier.attached.prompt_length, bench.longest)
    examples = bench.examples(min(held(recipe.max_length), room))
    training = Training(bench, job, recipe, classifier, examples, record)
    record.trainable_parameters = classifier.attached.count
    record.stored_bytes = stored_bytes(classifier.attached.architecture, bench.anatomy)
    record.head_parameters = classifier.head.count()
    if snapshot is not None:
        try:
            training.go_on(snapshot)
        except BadSnapshotError as error:
            record.refused = str(error)
    return training


def _overheads(bench: Bench, job: TrialJob, recipe: Recipe) -> dict[str, float]:
    """What the job asks to be measured on the backbone alone, before anything is attached."""
    if not set(job.measure).intersection(OVERHEADS):
        return {}
    length = min(held(recipe.max_length), bench.longest)
    rows = bench.examples(length).validation
    reading = bench.form.reading(rows, bench.form.length(length), 1, bench.data.n_outputs)
    return measure_overheads(
        bench.model(held(recipe.dtype)),
        Architecture.from_dict(job.architecture),
        bench.anatomy,
        job.measure,
        reads=reading.reads,
        longest=bench.longest,
    )


def build_classifier(bench: Bench, job: TrialJob, recipe: Recipe) -> Classifier:
    """The untrained classifier of a job, on the bench's backbone; detach it after use."""
    torch.manual_seed(child_seed(job.seed, "dropout"))
    base = bench.model(held(recipe.dtype))
    dropout = float(held(recipe.dropout))
    head = bench.form.head(
        base,
        bench.data.n_outputs,
        held(recipe.pooling),
        causal=bench.anatomy.causal,
        dropout=dropout,
        seed=job.seed,
    ).to(bench.device)
    architecture = Architecture.from_dict(job.architecture)
    attached = attach(base, architecture, seed=job.seed, anatomy=bench.anatomy, dropout=dropout)
    return Classifier(base, attached, head, bench.form)


def _is_memory(error: Exception) -> bool:
    """Whether an exception says that memory ran out; the CPU allocator has no type of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in _ALLOCATOR_WORDS
    )


def _release(device: str) -> None:
    """Gives memory back that a failed trial may still hold."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
