"""Trial: fine-tune one architecture on the resident backbone, score it, keep its tensors."""

from __future__ import annotations

import dataclasses
import gc
import math
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from peftnas.methods import attach, stored_bytes
from peftnas.methods.measured_memory import owned_by
from peftnas.search.errors import CannotSaveError
from peftnas.search.jobs import TIMES, Cause, Status, TrialJob, TrialResult
from peftnas.search.recipe import Recipe
from peftnas.search.seeds import child_seed
from peftnas.search.trial.artifact import commit, write_tensors
from peftnas.search.trial.batches import training_order
from peftnas.search.trial.bench import Bench, BenchSpec, Examples
from peftnas.search.trial.classifier import Classifier
from peftnas.search.trial.losses import losses_of, prune
from peftnas.search.trial.measure import StepMeter
from peftnas.search.trial.optimiser import Learner, evaluation_steps
from peftnas.search.trial.overhead import OVERHEADS, measure_overheads
from peftnas.search.trial.reading import room_beside
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.fields import held

__all__ = ["Bench", "BenchSpec", "TrialJob", "TrialResult", "run_trial"]

_ALLOCATOR_WORDS = ("can't allocate memory", "not enough memory", "out of memory")


class Diverged(ArithmeticError):
    """The loss, or a score, is no longer a finite number."""


@dataclass
class _Record:
    """What is known of a running trial, kept when it fails halfway."""

    started: float = field(default_factory=time.perf_counter)
    losses: list[float] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMES, 0.0))
    trainable_parameters: int = 0
    stored_bytes: int = 0
    head_parameters: int = 0
    measured: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside to ``times[name]``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.times[name] += time.perf_counter() - start

    def complete(self, folder: str) -> TrialResult:
        metrics = {k: v for k, v in self.curve[-1].items() if k not in ("step", "loss")}
        return dataclasses.replace(
            self._result("complete"), metrics=metrics, checkpoint=folder or None
        )

    def failed(self, cause: Cause, error: str) -> TrialResult:
        return dataclasses.replace(self._result("failed"), cause=cause, error=error)

    def _result(self, status: Status) -> TrialResult:
        self.times["wall_s"] = time.perf_counter() - self.started
        return TrialResult(
            status,
            curve=self.curve,
            losses=self.losses,
            timing=self.times,
            trainable_parameters=self.trainable_parameters,
            stored_bytes=self.stored_bytes,
            head_parameters=self.head_parameters,
            measured=self.measured,
        )


def run_trial(bench: Bench, job: TrialJob) -> TrialResult:
    """Train and score one architecture; what goes wrong in it is part of the result.

    The result is a function of the job and of what the bench holds, not of earlier trials: on one
    CPU thread it is the same bit for bit. The backbone is left as it was.

    Args:
        bench: the resident backbone and data.
        job: what to train. With a ``folder``, a complete trial leaves its checkpoint there.
    Raises:
        CannotSaveError: if that checkpoint cannot be written, which is no fault of the job's.
    """
    record = _Record()
    try:
        return _run(bench, job, record)
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
    return result


def _run(bench: Bench, job: TrialJob, record: _Record) -> TrialResult:
    with record.timed("setup_s"):
        recipe = Recipe.from_dict(job.recipe)
    with record.timed("measure_s"):
        record.measured |= _overheads(bench, job, recipe)
    with record.timed("setup_s"):
        classifier = build_classifier(bench, job, recipe)
    try:
        with record.timed("setup_s"):
            record.trainable_parameters = classifier.attached.count
            record.stored_bytes = stored_bytes(classifier.attached.architecture, bench.anatomy)
            record.head_parameters = classifier.head.count()
            room = room_beside(classifier.attached.prompt_length, bench.longest)
            examples = bench.examples(min(held(recipe.max_length), room))
            head = classifier.head.parameters()
            attached = classifier.attached
            learner = Learner(
                attached.parameters(), head, recipe, attached.rates(), attached.arms()
            )
        _learn(bench, classifier, learner, examples, recipe, job.seed, record)
        if not job.folder:
            return record.complete("")
        with record.timed("save_s"):
            draft = write_tensors(Path(job.folder), classifier, bench.backbone)
        result = record.complete(job.folder)
        commit(draft, Path(job.folder), job, result, bench.facts())
        return result
    finally:
        classifier.detach()


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


def _learn(
    bench: Bench,
    classifier: Classifier,
    learner: Learner,
    examples: Examples,
    recipe: Recipe,
    seed: int,
    record: _Record,
) -> None:
    steps = held(recipe.steps)
    evaluate_after = set(evaluation_steps(steps, held(recipe.evaluations)))
    order = training_order(examples.train.lengths, held(recipe.batch_size), seed)
    extra, draws = classifier.attached.steps, child_seed(seed, "modules")
    owned = owned_by(classifier.base, classifier.attached, classifier.head)
    meter = StepMeter(owned, learner.optimiser, bench.device)
    classifier.train()
    if extra.needs_pruning:
        with record.timed("train_s"):
            prune(classifier, examples.train.batch(next(order), bench.device))
    for step in range(steps):
        with record.timed("train_s"):
            batch = examples.train.batch(next(order), bench.device)
            with meter.step(batch.inputs()):
                extra.begin(step, steps, draws)
                loss, objective = losses_of(classifier, batch, step, steps, draws)
                record.losses.append(_finite(float(loss.detach()), "the training loss", step + 1))
                learner.step(objective, step)
                extra.end(step, steps)
        if step + 1 in evaluate_after:
            with record.timed("evaluate_s"):
                record.curve.append(_evaluate(bench, classifier, examples, step + 1))
            classifier.train()
    record.measured |= meter.measured()


def _evaluate(
    bench: Bench, classifier: Classifier, examples: Examples, step: int
) -> dict[str, float]:
    """One entry of the learning curve."""
    found = classifier.evaluate(examples.validation)
    entry = {"step": step, "loss": _finite(found.loss, "the validation loss", step)}
    for name, value in bench.task.score(found.predictions, examples.validation.labels).items():
        entry[name] = _finite(float(value), name, step)
    return entry


def _finite(value: float, what: str, step: int) -> float:
    if not math.isfinite(value):
        raise Diverged(f"{what} is {value} after step {step}")
    return value


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
