"""Everything that can be wrong with a study is found here, before a worker starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftnas.search import distributions
from peftnas.search.constraints import Constraint, parse_constraint
from peftnas.search.errors import UsageError, about
from peftnas.search.limits import Limits
from peftnas.search.objectives import Objective
from peftnas.search.predictions import Predictions
from peftnas.search.recipe import Recipe
from peftnas.search.sampling.samplers import check_sampler
from peftnas.search.study import Study
from peftnas.search.task_check import check_score
from peftnas.search.task_protocol import TaskData
from peftnas.spaces.architecture import Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.domains import Choice, Domain, Integer, Real
from peftnas.spaces.fields import default_of, held, settings

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone
    from peftnas.search.trial.bench import Bench, BenchSpec, Examples
    from peftnas.search.trial.reading import Reading


@dataclass(frozen=True)
class Prepared:
    """A checked study with what it needs opened.

    Attributes:
        study: as it was defined.
        backbone: found, its weights hashed.
        data: train and validation examples.
        bound: the space on the backbone.
        objectives: in the order of the study.
        constraints: of the study.
        content: ``study.to_dict()`` with this backbone.
        predictions: of what a trial will take.
        rungs: optimiser steps at which trials are compared, the whole training last, and the
            reduction factor; empty without halving.
        spec: what workers need, tokenised here once.
    """

    study: Study
    backbone: Backbone
    data: TaskData
    bound: BoundSpace
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    content: dict[str, Any]
    predictions: Predictions
    rungs: tuple[()] | tuple[tuple[int, ...], int]
    spec: BenchSpec

    def facts(self) -> dict[str, Any]:
        """What a report says of the study besides its trials; JSON values."""
        return {
            "backbone": {
                "name": self.backbone.name,
                "sha256": self.backbone.sha256,
                "parameters": self.bound.anatomy.backbone_parameters,
            },
            "task": self.study.task.name,
            "data": {
                "train": len(self.data.train),
                "validation": len(self.data.validation),
                "classes": list(self.data.label_names),
                **self.data.facts,
            },
            "max_parameters": self.bound.max_parameters,
        }


def prepare(
    study: Study, *, data: Path | None = None, base: Path | None = None, sampler: str = "tpe"
) -> Prepared:
    """Check a study against its backbone and its data.

    Args:
        study: to check.
        data: folder that relative sources of the task are looked for in first.
        base: folder of the study's file; the current one by default.
        sampler: name of the sampler that will run it.
    Raises:
        UsageError: for the first thing that is wrong, in one sentence.
    """
    from peftnas.search.backbone import find_backbone
    from peftnas.search.trial.forms.form import form_of

    base = base or Path.cwd()
    with _one_sentence():
        with about("backbone"):
            backbone = find_backbone(study.backbone, base=base)
            backbone.check()
            anatomy = backbone.anatomy()
        form = form_of(study.task)
        with about("task"):
            form.check_backbone(backbone.name, anatomy)
        with about("recipe"):
            form.check_recipe(study.recipe)
        with about("backbone"):
            form.check_weights(backbone)
        opened = _Opened(study, backbone, data, base)
        constraints = tuple(map(parse_constraint, study.constraints))
        objectives = study.named_objectives(anatomy.backbone_parameters)
        decodes = _asks_for_decoding(objectives, constraints)
        predictions = Predictions(backbone, form, opened.reading, writes=decodes)

        def train_memory_bytes(one: Architecture) -> float:
            opened.spec  # noqa: B018 - wrong data are no fault of an architecture
            return predictions.memory_in_space(one, heaviest(study.recipe))

        bound = study.space.bind(anatomy, train_memory_bytes=train_memory_bytes)
        Limits(bound, study.recipe, constraints).check_feasible()
        dimensions = distributions.dimensions(bound, study.recipe)
        check_sampler(sampler, [(known.path, known.domain) for known in dimensions])
        content = study.to_dict(backbone) | {"data": data_identity(opened.data)}
        if decodes:
            _check_decodes(backbone.name, predictions)
        Limits(bound, study.recipe, constraints, predictions).check_feasible()
        # what cannot be tokenised or scored leaves no study in a storage
        opened.check_scores()
        return Prepared(
            study,
            backbone,
            opened.data,
            bound,
            objectives,
            constraints,
            content,
            predictions,
            study.rungs(),
            opened.spec,
        )


class _Opened:
    """The data of a study, opened and tokenised when it is first needed."""

    def __init__(self, study: Study, backbone: Backbone, folder: Path | None, base: Path) -> None:
        self._study = study
        self._backbone = backbone
        self._places = folder, base

    @cached_property
    def data(self) -> TaskData:
        """Train and validation examples, checked."""
        from peftnas.search.trial.forms.form import form_of

        with about("task"):
            opened = self._study.task.open(*self._places, self._study.seed)
            _check_data(opened)
            form_of(self._study.task).check_data(opened)
        return opened

    @cached_property
    def spec(self) -> BenchSpec:
        """What workers need: the data as tokens for each length that is known before trials."""
        from peftnas.search.trial.bench import BenchSpec

        recipe = self._study.recipe
        dtypes = tuple(_plain(recipe.dtype))
        spec = BenchSpec(self._backbone, self._study.task, self.data, dtypes=dtypes)
        return spec.with_tokens({held(heaviest(recipe).max_length), *_plain(recipe.max_length)})

    @cached_property
    def _bench(self) -> Bench:
        return self.spec.build()

    @property
    def _examples(self) -> Examples:
        """Both splits at the largest length."""
        return self._bench.examples(held(heaviest(self._study.recipe).max_length))

    def reading(self, length: int, size: int) -> Reading:
        """What the heaviest training step on so many examples reads, each cut to a length."""
        form, outputs = self._bench.form, self.data.n_outputs
        return form.reading(self._examples.train, length, size, outputs)

    def check_scores(self) -> None:
        """Score right answers to validation once."""
        labels = self._examples.validation.labels
        right = self._bench.form.perfect(labels, self.data.n_outputs)
        check_score(self._study.task, right, labels)


def heaviest(recipe: Recipe) -> Recipe:
    """The recipe that takes most memory of those that a recipe with domains stands for."""
    constants: dict[str, Any] = {}
    for name in settings(Recipe):
        domain = getattr(recipe, name)
        if isinstance(domain, Domain):
            sized = name in ("batch_size", "max_length", "dropout")
            constants[name] = _most(domain) if sized else default_of(Recipe, name)
    return recipe.replace(**constants)


def _most(held_or_domain: Any) -> Any:
    """The largest number of a domain."""
    match held_or_domain:
        case Integer(high=high) | Real(high=high):
            return high
        case Choice(options=options):
            return max(map(_most, options))
    return held_or_domain


def _asks_for_decoding(
    objectives: tuple[Objective, ...], constraints: tuple[Constraint, ...]
) -> bool:
    """Whether trials measure how long one more word takes."""
    asked = {goal.name for goal in objectives} | {limit.name for limit in constraints}
    return "decode_overhead" in asked


def _check_decodes(name: str, predictions: Predictions) -> None:
    """``decode_overhead`` is of decoders alone."""
    if not predictions.decodes:
        raise UsageError(
            "decode_overhead needs a backbone that gives word after word from a cache, got "
            f"{name!r}, which does not; take inference_overhead, or a decoder (llama)"
        )


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Errors of values as errors of usage: all of them mean a wrong study here."""
    try:
        yield
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(" ".join(str(error).split())) from error


def data_identity(data: TaskData) -> dict[str, Any]:
    """What tells two states of the data apart: rows, and a hash of all examples and labels."""
    digest = hashlib.sha256()
    for split in (data.train, data.validation):
        for part in split.content():
            digest.update(part)
    rows = {"train_rows": len(data.train), "validation_rows": len(data.validation)}
    return rows | {"sha256": digest.hexdigest()}


def _check_data(data: TaskData) -> None:
    for name, split in (("train", data.train), ("validation", data.validation)):
        if not len(split):
            raise UsageError(f"the {name} split must hold examples, got none; check its source")


def _plain(held: Any) -> list[Any]:
    """The values of a field that are known before trials are drawn."""
    if isinstance(held, Choice):
        return [option for option in held.options if isinstance(option, str | int)]
    return [held] if isinstance(held, str | int) else []
