"""A search space in pure Python, with every shape of condition, for tests without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import optuna

from peftnas.search.jobs import TrialJob, TrialResult
from peftnas.search.objectives import Objective, objective
from peftnas.search.recipe import Recipe
from peftnas.search.records import Records
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


def records_in_memory(sampler: optuna.samplers.BaseSampler | None = None) -> Records:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    return Records(study, objectives(), BACKBONE)


def train(job: TrialJob) -> TrialResult:
    """A closed form instead of a training: more parameters are better, the rate has an optimum."""
    architecture = Architecture.from_dict(job.architecture)
    count = sum(part.count() for part in ToyAnatomy().place(architecture))
    rate = float(job.recipe["learning_rate"])
    accuracy = 0.9 * count / (count + 20) - min(0.4, abs(rate - 0.01))
    return TrialResult(
        "complete",
        metrics={"accuracy": max(0.0, accuracy)},
        curve=[{"step": 1, "loss": 1.0, "accuracy": max(0.0, accuracy)}],
        losses=[1.0],
        timing={"setup_s": 0.0, "train_s": 0.01, "evaluate_s": 0.0, "save_s": 0.0, "wall_s": 0.01},
        trainable_parameters=count,
        stored_bytes=4 * count,
    )
