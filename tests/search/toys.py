"""A search space in pure Python, with every shape of condition, for tests without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import optuna

from peftnas.search.asking import Asker
from peftnas.search.constraints import Constraint
from peftnas.search.intake import Intake
from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.log import EventLog
from peftnas.search.objectives import Objective, objective
from peftnas.search.proposals import Found, Proposer
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
from peftnas.search.resume import retell
from peftnas.search.sampling.samplers import make_sampler
from peftnas.search.sampling.view import SamplerView
from peftnas.search.scores import Score
from peftnas.search.standing import Standing
from peftnas.search.work import Work
from peftnas.spaces import (
    Architecture,
    Choice,
    Integer,
    Maybe,
    PerLayer,
    Real,
    SearchSpace,
    Subset,
)
from peftnas.spaces.bound_space import BoundSpace
from peftnas.spaces.fields import (
    AnyOf,
    Configurable,
    Layers,
    Number,
    OneOf,
    SomeOf,
    Whole,
    setting,
)

BACKBONE = 1000
METRICS = ("accuracy",)


@dataclass(frozen=True)
class ToyPlacement:
    site: str
    content: tuple[Any, ...]
    size: int

    def count(self) -> int:
        return self.size

    def stored(self) -> int:
        return self.size

    def stored_bytes(self) -> int:
        return 4 * self.stored()

    def identity(self) -> dict[str, Any]:
        return {"site": self.site, "content": list(self.content)}

    function = identity

    def joins_by(self) -> str | None:
        return None

    def joined(self, other: ToyPlacement) -> ToyPlacement:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Knob(Configurable):
    """One module a layer; ``sharpness`` matters only for the flavour "hot"."""

    kind: ClassVar[str] = "toy_knob"

    flavour: Any = setting(OneOf("hot", "cold"), default="hot")
    sharpness: Any = setting(
        AnyOf(Number(0, 1), OneOf("learned")), default=0.5, when={"flavour": ("hot",)}
    )
    size: Any = setting(Whole(0), default=4, by_layer=True, size=True)
    layers: Any = setting(Layers(), default=None)

    def place(self, anatomy: ToyAnatomy) -> Iterator[ToyPlacement]:
        for layer in range(anatomy.n_layers) if self.layers is None else self.layers:
            here = self.at(layer)
            if here.size:
                content = (self.kind, here.flavour, here.sharpness, here.size)
                yield ToyPlacement(f"layers[{layer}]", content, 2 * here.size)


@dataclass(frozen=True, kw_only=True)
class Patch(Configurable):
    """One module a target."""

    kind: ClassVar[str] = "toy_patch"

    targets: Any = setting(SomeOf("a", "b", "c"), default=("a",))
    rank: Any = setting(Whole(0), default=2, size=True)

    def place(self, anatomy: ToyAnatomy) -> Iterator[ToyPlacement]:
        for target in self.targets if self.rank else ():
            yield ToyPlacement(target, (self.kind, self.rank), 5 * self.rank)


@dataclass(frozen=True)
class ToyAnatomy:
    n_layers: int = 3
    backbone_parameters: int = BACKBONE

    @property
    def stack_sizes(self) -> tuple[int, ...]:
        return (self.n_layers,)

    def canonical(self, architecture: Architecture) -> Architecture:
        kept = [method for method in architecture.methods if list(method.place(self))]  # type: ignore[attr-defined]
        return Architecture(*sorted(kept, key=lambda method: method.kind))

    def place(self, architecture: Architecture) -> tuple[ToyPlacement, ...]:
        return tuple(
            placement
            for method in architecture.methods
            for placement in method.place(self)  # type: ignore[attr-defined]
        )


def conditional_space(**limits: Any) -> SearchSpace:
    """Presence, a choice of methods, a nested domain, a draw for each of some layers."""
    return SearchSpace(
        Maybe(
            Knob(
                flavour=Choice("hot", "cold"),
                sharpness=Choice("learned", 1, Real(0.1, 1.0)),
                size=PerLayer(Integer(0, 8)),
                layers=Subset.of_layers(),
            )
        ),
        Choice(Patch(targets=Subset("a", "b", "c"), rank=Integer(1, 16, log=True)), None),
        **limits,
    )


def finite_space(**limits: Any) -> SearchSpace:
    """12 distinct architectures: sizes 0 to 3 times three sets of targets."""
    return SearchSpace(
        Knob(size=Integer(0, 3), sharpness=0.5),
        Patch(targets=Subset("a", "b"), rank=1),
        **limits,
    )


RECIPE = Recipe(learning_rate=Real(1e-4, 1e-1, log=True), schedule=Choice("linear", "cosine"))


def objectives() -> tuple[Objective, ...]:
    names = ("accuracy", "trainable_parameters")
    return tuple(objective(name, METRICS, BACKBONE) for name in names)


def records_in_memory(*constraints: Constraint) -> Records:
    study = optuna.create_study(directions=["maximize", "minimize"])
    return Records(study, objectives(), BACKBONE, constraints)


class AskNow(Asker):
    """Proposes when the answer is taken, in the thread that takes it."""

    def take(self, timeout: float = 0.0) -> Found | None:
        self.wanted -= 1
        return self._proposer.next()

    def tell(self, *told: Any) -> None:
        self._proposer.tell(*told)

    def know(self, *known: Any) -> None:
        self._proposer.know(*known)


class Exploration:
    """The way of trials through a study, one after the other, without a driver and workers.

    Args:
        records: of the study; what it holds is known to the proposer.
        space: unbound, or bound to the toy anatomy.
        recipe: of the study.
        sampler: a name, or an Optuna sampler.
        more: further arguments of ``Proposer``.
    """

    def __init__(
        self,
        records: Records,
        space: SearchSpace | BoundSpace,
        recipe: Recipe = RECIPE,
        sampler: str | optuna.samplers.BaseSampler = "random",
        **more: Any,
    ) -> None:
        bound = space.bind(ToyAnatomy()) if isinstance(space, SearchSpace) else space
        if isinstance(sampler, str):
            sampler = make_sampler(sampler, more.get("seed", 0), len(records.trials()))
        directions = [goal.direction for goal in records.objectives]
        proposer = Proposer(SamplerView(sampler, directions), bound, recipe, **more)
        tickets = retell(proposer, records, 0)
        self.records = records
        standing = Standing(records, Path())
        numbers = {ticket: number for number, ticket in tickets.items()}
        self.intake = Intake(AskNow(proposer), records, standing, NoLog(), numbers)

    def next(self) -> Work | None:
        """The next accepted trial, which is running from here on."""
        self.intake.request()
        return self.intake.take(0.0)

    def end(self, work: Work, result: TrialResult) -> Score:
        """Tell what became of it."""
        score = self.records.tell(work.number, result)
        self.intake.tell(work, score)
        return score

    def run(self, n: int, end: Callable[[TrialJob], TrialResult] | None = None) -> list[int]:
        """Train ``n`` trials; their numbers."""
        numbers = []
        for _ in range(n):
            work = self.next()
            assert work is not None
            self.end(work, (end or train)(work.job()))
            numbers.append(work.number)
        return numbers


class NoLog(EventLog):
    """Keeps nothing."""

    def __init__(self) -> None: ...

    def write(self, event: str, **values: Any) -> None: ...


def train(job: TrialJob) -> TrialResult:
    """A closed form instead of a training: more parameters are better, the rate has an optimum.

    Up to a rung it is worse by what is left of the steps, and leaves a folder as a snapshot would.
    """
    architecture = Architecture.from_dict(job.architecture)
    count = sum(part.count() for part in ToyAnatomy().place(architecture))
    rate = float(job.recipe["learning_rate"])
    steps = int(job.recipe["steps"])
    step = job.until or steps
    accuracy = 0.9 * count / (count + 20) - min(0.4, abs(rate - 0.01)) - 0.1 * (1 - step / steps)
    if step < steps:
        Path(job.folder).mkdir(parents=True, exist_ok=True)
    return TrialResult(
        "complete" if step == steps else "paused",
        step=step,
        metrics={"accuracy": max(0.0, accuracy)},
        curve=[{"step": 1, "loss": 1.0, "accuracy": max(0.0, accuracy)}],
        losses=[1.0],
        timing={"setup_s": 0.0, "train_s": 0.01, "evaluate_s": 0.0, "save_s": 0.0, "wall_s": 0.01},
        trainable_parameters=count,
        stored_bytes=4 * count,
    )
