"""Plan: what was decided about a trial when it was accepted, and which training that is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

from peftnas.search.jobs import TrialJob


def trial_key(train_key: str, recipe: Mapping[str, Any], arms: str = "") -> str:
    """Says which training a trial is: two trials of equal key would repeat each other.

    Args:
        train_key: of the architecture.
        recipe: as ``Recipe.to_dict`` writes it.
        arms: key of the training settings of methods, see ``arms.py``; "": none.
    """
    parts = [train_key, dict(recipe), *([arms] if arms else [])]
    content = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """A trial that was accepted: everything needed to train it, now or after a restart."""

    architecture: dict[str, Any]
    recipe: dict[str, Any]
    train_key: str
    seed: int
    words: str
    baseline: str | None = None
    arms: str = ""

    @property
    def key(self) -> str:
        return trial_key(self.train_key, self.recipe, self.arms)

    def attributes(self) -> dict[str, Any]:
        """The user attributes that keep the plan with a trial; :func:`plan_of` reads them."""
        kept = {
            "architecture": self.architecture,
            "recipe": self.recipe,
            "train_key": self.train_key,
            "seed": self.seed,
            "words": self.words,
            "ready": True,
        }
        if self.baseline is not None:
            kept["baseline"] = self.baseline
        if self.arms:
            kept["arms"] = self.arms
        return kept

    def job(
        self,
        number: int,
        folder: str,
        measure: tuple[str, ...] = (),
        until: int | None = None,
    ) -> TrialJob:
        """The job of this trial, which writes its checkpoint to ``folder``.

        Args:
            number: of the trial.
            folder: of its checkpoint.
            measure: costs that the study asks for.
            until: step to train to; ``None``: to the end.
        """
        return TrialJob(
            number,
            self.architecture,
            self.recipe,
            self.seed,
            self.key,
            folder,
            measure,
            until,
        )


def plan_of(trial: FrozenTrial) -> Plan | None:
    """What was recorded when the trial was accepted; ``None`` if it never was."""
    kept = trial.user_attrs
    if not kept.get("ready"):
        return None
    return Plan(
        kept["architecture"],
        kept["recipe"],
        kept["train_key"],
        kept["seed"],
        kept["words"],
        kept.get("baseline"),
        kept.get("arms", ""),
    )
