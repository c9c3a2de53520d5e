"""What there is to say of a search space on a backbone, each fact computed when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from peftnas.spaces.architecture import Architecture
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.budget import resolve_budget
from peftnas.spaces.dimensions import field_dimensions
from peftnas.spaces.sizes.size import Size
from peftnas.spaces.words import domain_words
from peftnas.studies.space_bins import bin_edges
from peftnas.studies.space_draws import Draws, how_drawn

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone
    from peftnas.search.study import Study

PERCENTS = ("0.01", "0.1", "0.5", "1", "2")
N_SAMPLES = 10
_CURVE_STEPS = 60
_OUTPUTS = 2  # of a head whose task is not opened
N_COUNTED = 200  # samples of which the histogram is made where the space cannot be counted


@dataclass(frozen=True)
class Budget:
    """How many architectures a budget leaves.

    Attributes:
        percent: of the backbone, such as ``"0.5"``; ``None``: all that the space allows.
        max_parameters: the same as a number.
        size: architectures that meet it and every constraint.
    """

    percent: str | None
    max_parameters: int
    size: Size


@dataclass(frozen=True)
class Bin:
    """Architectures with ``low .. high`` trainable parameters (both inclusive)."""

    low: int
    high: int
    size: Size


@dataclass(frozen=True)
class Sample:
    """One architecture of the space."""

    architecture: Architecture
    trainable_parameters: int


class SpaceFacts:
    """The facts of one study's space.

    Args:
        study: whose space it is.
        backbone: that it is bound to.
        bound: the two together.
    """

    def __init__(self, study: Study, backbone: Backbone, bound: BoundSpace) -> None:
        self.study, self.backbone, self.bound = study, backbone, bound

    @property
    def title(self) -> str:
        """The study and its backbone."""
        return f"{self.study.name} on {self.backbone.name}"

    @property
    def backbone_parameters(self) -> int:
        """Of the backbone, without head."""
        return self.bound.anatomy.backbone_parameters

    @cached_property
    def recipe_domains(self) -> dict[str, str]:
        """What of the recipe is searched too, in words."""
        from peftnas.search.distributions import RECIPE

        found = field_dimensions(self.study.recipe, RECIPE)
        return {one.path: domain_words(one.domain) for one in found}

    @cached_property
    def size(self) -> Size:
        """Distinct architectures."""
        return self.bound.size()

    @cached_property
    def raw_size(self) -> Size:
        """Points."""
        return self.bound.raw_size()

    @cached_property
    def trainable_parameters(self) -> tuple[int, int]:
        """Fewest and most; the range that samples reached where ``size`` is not exact."""
        return self.bound.parameter_range()

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """From small budgets up to the space's own, which is the last."""
        whole, most = self.backbone_parameters, self.trainable_parameters[1]
        limits = {text: resolve_budget(f"{text}%", whole) or 0 for text in PERCENTS}
        limits = {text: limit for text, limit in limits.items() if 1 <= limit < most}
        found = self.sizes(limits.values())
        rows = [Budget(text, limits[text], size) for text, size in zip(limits, found, strict=True)]
        own = self.bound.max_parameters
        return (*rows, Budget(None, most if own is None else own, self.size))

    @cached_property
    def counted(self) -> bool:
        """Whether ``histogram`` is of all architectures; else of 200 samples."""
        return self.size.exact

    @cached_property
    def histogram(self) -> tuple[Bin, ...]:
        """Architectures by trainable parameters, in bins of about one ratio, 0 on its own."""
        if not self.counted:
            return _tallied(self._sampled_counts)
        low, high = self.bound.parameter_range(placing=True)
        if high == 0:
            return (Bin(0, 0, self.size),)
        edges = bin_edges(low, high)
        starts = [0, *edges] if low > 1 else [0, *edges[1:]]
        ends = [*(start - 1 for start in starts[1:]), high]
        upto = [*self.sizes(ends[:-1]), self.size]
        numbers = [_minus(*pair) for pair in zip(upto, [Size(0, 0), *upto], strict=False)]
        if low > 1:
            ends[0] = 0  # nothing has fewer than ``low`` but 0
        bins = [Bin(*one) for one in zip(starts, ends, numbers, strict=True)]
        return tuple(bins if numbers[0].high else bins[1:])

    @cached_property
    def curve(self) -> tuple[Budget, ...]:
        """How many architectures budgets leave, closely spaced and at each sample.

        Empty where the space cannot be counted.
        """
        if not self.counted or self.trainable_parameters[1] == 0:
            return ()
        low, high = self.bound.parameter_range(placing=True)
        steps = range(_CURVE_STEPS + 1)
        limits = {round(low * (high / low) ** (step / _CURVE_STEPS)) for step in steps} | {high}
        limits |= {sample.trainable_parameters for sample in self.samples} - {0}
        ordered = sorted(limits)
        found = self.sizes(ordered)
        return tuple(Budget(None, *pair) for pair in zip(ordered, found, strict=True))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """Ten, by trainable parameters; over the whole range where the space can be counted."""
        bound, seed = self.bound, self.study.seed
        if self.size.exact and self.trainable_parameters[1] > 0:
            drawn = bound.stratified(N_SAMPLES, seed)
        else:
            drawn = [bound.sample(seed + number) for number in range(N_SAMPLES)]
        found = [Sample(one, bound.count(one)) for one in drawn]
        return tuple(sorted(found, key=lambda one: one.trainable_parameters))

    @cached_property
    def draws(self) -> Draws:
        """Which fields are drawn once, for each layer, or together."""
        return how_drawn(self.bound)

    @cached_property
    def beside_full(self) -> tuple[str, ...]:
        """Methods that stand beside full fine-tuning in a sample, and fold into its weights."""
        from peftnas.methods import costs

        for sample in self.samples:
            kinds = {method.kind for method in sample.architecture.methods}
            if "full" in kinds and len(kinds) > 1:
                config, family = self.backbone.config(), self.backbone.family
                found = costs(sample.architecture, config, batch=1, tokens=4, family=family)
                stay = {part.rpartition(": ")[2] for part in found.remaining}
                return tuple(sorted(kinds - stay - {"full"}))
        return ()

    @property
    def constraints(self) -> tuple[str, ...]:
        """In words, the budget aside."""
        space = self.bound.space
        some = ("at least one method",) if space.at_least_one_method else ()
        return (*some, *(constraint.words() for constraint in space.constraints))

    def sizes(self, budgets: Iterable[int]) -> list[Size]:
        """How many architectures meet each budget (at least 1)."""
        return self.bound.sizes(list(budgets))

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "study": self.study.name,
            "backbone": self.backbone.name,
            "backbone_parameters": self.backbone_parameters,
            "tree": self.bound.tree(),
            "draws": self.draws.to_dict(),
            "constraints": list(self.constraints),
            "recipe_domains": self.recipe_domains,
            "size": size_dict(self.size),
            "raw_size": size_dict(self.raw_size),
            "not_counted": list(self.size.reals),
            "beside_full": list(self.beside_full),
            "max_parameters": self.bound.max_parameters,
            "trainable_parameters": list(self.trainable_parameters),
            "trainable_parameters_exact": self.size.exact,
            "budgets": [
                {
                    "percent": None if row.percent is None else float(row.percent),
                    "max_parameters": row.max_parameters,
                    "size": size_dict(row.size),
                }
                for row in self.budgets
            ],
            "histogram": {
                "of": "architectures" if self.counted else "samples",
                "bins": [
                    {"low": one.low, "high": one.high, "size": size_dict(one.size)}
                    for one in self.histogram
                ],
            },
            "samples": [
                {
                    "trainable_parameters": sample.trainable_parameters,
                    "words": sample.architecture.words(),
                    "architecture": sample.architecture.to_dict(),
                }
                for sample in self.samples
            ],
        }

    @cached_property
    def _sampled_counts(self) -> list[int]:
        seed = self.study.seed
        return [self.bound.count(self.bound.sample(seed + n)) for n in range(N_COUNTED)]


def bind_space(study: Study, backbone: Backbone) -> BoundSpace:
    """The space on a backbone. Memory is predicted for texts of full length; no data are read.

    Raises:
        ValueError: if the space names a layer or a site that the backbone does not have.
    """
    from peftnas.search.predictions import Predictions
    from peftnas.search.preflight import heaviest
    from peftnas.search.trial.forms.form import form_of

    recipe, form = heaviest(study.recipe), form_of(study.task)
    predictions = Predictions(
        backbone, form, lambda length, size: form.reading(None, length, size, _OUTPUTS)
    )
    return study.space.bind(
        backbone.anatomy(),
        train_memory_bytes=lambda one: predictions.memory_in_space(one, recipe),
    )


def size_dict(size: Size) -> dict[str, Any]:
    """A size as JSON values."""
    why = {} if size.exact else {"why": size.why}
    return {
        "low": size.low,
        "high": size.high,
        "exact": size.exact,
        "words": str(size),
    } | why


def _minus(all_of_them: Size, some: Size) -> Size:
    """How many are left; bounds where one of the two has bounds."""
    return Size(max(all_of_them.low - some.high, 0), max(all_of_them.high - some.low, 0))


def _tallied(counts: Sequence[int]) -> tuple[Bin, ...]:
    """The histogram of some numbers."""
    placing = [count for count in counts if count]
    ends = list(_ends(placing)) if placing else []
    found = [Bin(0, 0, _number(counts, 0, 0))] if len(placing) < len(counts) else []
    return (*found, *(Bin(low, high, _number(counts, low, high)) for low, high in ends))


def _ends(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    edges = bin_edges(min(counts), max(counts))
    for low, end in zip(edges, [*edges[1:], max(counts) + 1], strict=True):
        yield low, end - 1


def _number(counts: Iterable[int], low: int, high: int) -> Size:
    number = sum(low <= count <= high for count in counts)
    return Size(number, number)
