"""One trial of a sampler's view: the trainings of one architecture, and what they reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

Array = NDArray[np.float64]


@dataclass
class Training:
    """One training of an architecture.

    Attributes:
        rungs: values by rung; ``None``: it failed there.
        constraints: as they were told last.
    """

    rungs: dict[int, tuple[float, ...] | None] = field(default_factory=dict)
    constraints: dict[str, float] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it ended by its own fault."""
        return None in self.rungs.values()

    def history(self, n_rungs: int, n_objectives: int) -> Array:
        """Shape (n_rungs, n_objectives), NaN where nothing is known."""
        missing = (np.nan,) * n_objectives
        return np.asarray([self.rungs.get(rung) or missing for rung in range(n_rungs)])


@dataclass
class Seen:
    """One trial of the view.

    Attributes:
        params: as Optuna gives them.
        distributions: of the parameters.
        system_attrs: of the sampler.
        trial_id: in the view's storage.
        trainings: by number in the study; empty for a refusal.
        violation: of ``feasible``, if no training succeeded.
    """

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]
    trial_id: int
    trainings: dict[int, Training] = field(default_factory=dict)
    violation: float = 1.0

    @property
    def told(self) -> list[Training]:
        """The trainings with a result or a failure."""
        return [training for training in self.trainings.values() if training.rungs]

    @property
    def good(self) -> list[Training]:
        """The trainings with results that did not fail."""
        return [training for training in self.told if not training.failed]

    @property
    def n_results(self) -> int:
        """Results and failures, of all rungs."""
        return sum(len(training.rungs) for training in self.trainings.values())

    def is_final(self, top: int) -> bool:
        """Whether nothing that is told of it can still change: all at the top, or no result."""
        if not self.trainings:
            return False
        return all(top in training.rungs and not training.failed for training in self.told)

    def history(self, n_rungs: int, n_objectives: int) -> Array:
        """The mean over trainings that did not fail, as :meth:`Training.history`.

        A trial of which all failed shows how far it came.
        """
        held = self.good or self.told
        stacked = np.stack([one.history(n_rungs, n_objectives) for one in held])
        known = ~np.isnan(stacked)
        total = np.where(known, stacked, 0.0).sum(axis=0)
        count = known.sum(axis=0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def seen_of(frozen: FrozenTrial, violation: float = 1.0) -> Seen:
    """A trial of the view's storage, without trainings so far."""
    # Optuna has no public way to a trial's id, which its storages want
    found = frozen._trial_id
    return Seen(
        frozen.params, frozen.distributions, frozen.system_attrs, found, violation=violation
    )
