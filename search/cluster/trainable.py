"""A study as a class trainable of Ray Tune, for those who want Tune's searchers and schedulers.

::

    tune.Tuner(as_trainable(study), tune_config=tune.TuneConfig(search_alg=..., num_samples=20))

A config is a point of the study's space by Optuna's names, such as ``lora.rank``; ``TuneSpace``
suggests them. ``docs/tune.md`` has whole examples.
"""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ray
from ray import tune

from peftnas.search.cluster.by_value import kinds_in, make_known, travel_by_value
from peftnas.search.cluster.tune_row import tune_row
from peftnas.search.errors import UsageError
from peftnas.search.evaluator import Evaluator
from peftnas.search.plans import Plan
from peftnas.search.preflight import Prepared, prepare
from peftnas.search.study import Study
from peftnas.spaces.fields import Configurable

_TRIAL = "trial.json"


def as_trainable(
    study: Study,
    *,
    data: Path | None = None,
    base: Path | None = None,
    modules: Sequence[ModuleType] = (),
) -> type[tune.Trainable]:
    """A Ray Tune class trainable of a study.

    Each iteration trains to the next rung of ``Study.halving``, without halving to the end, and
    reports every objective there; see ``tune_row.py``. Scores are those that ``run_study`` gives
    for the same architecture and recipe. With ``reuse_actors=True`` the backbone is loaded once a
    worker process.

    A trial takes one CPU, and one GPU where the cluster has any; ``tune.with_resources`` changes
    it. It computes with as many threads as it has CPUs, and only with one are scores equal bit for
    bit.

    Args:
        study: it is checked here, and tokenised.
        data: folder that relative sources of the task are looked for in first.
        base: folder of the study's file; the current one by default.
        modules: the user's own modules, whose classes workers cannot import.
    Returns:
        A class for ``tune.Tuner``, with the study's name.
    Raises:
        UsageError: for the first thing that is wrong with the study.
    """
    prepared = prepare(study, data=data, base=base)
    travel_by_value(modules)
    # a script's own classes travel by value in any case
    kinds = kinds_in((*modules, sys.modules["__main__"]))
    made: type[tune.Trainable] = tune.with_parameters(
        StudyTrainable, prepared=prepared, kinds=kinds
    )
    made.__name__ = study.name
    return made


class StudyTrainable(tune.Trainable):
    """Trains points of one study, one after the other; :func:`as_trainable` makes a whole one.

    Checkpoints of Tune hold what the folder of a trial holds: a snapshot on the way, the
    artifact (``trial/artifact.py``) at the end. A trial goes on from one bit for bit, in whatever
    process, but only with the config that it was made with.
    """

    def setup(
        self,
        config: dict[str, Any],
        prepared: Prepared | None = None,
        kinds: tuple[type[Configurable], ...] = (),
    ) -> None:
        """Load the backbone; nothing is wrong with the study, which was checked before.

        Args:
            config: the point.
            prepared: the study.
            kinds: methods that the user defined, which travelled by value.
        """
        import torch

        if prepared is None:
            raise UsageError("StudyTrainable needs a study; take as_trainable(study)")
        resources = self.trial_resources
        torch.set_num_threads(max(1, int(resources.head_cpus)) if resources else 1)
        make_known(kinds)
        self._evaluator = Evaluator(prepared)
        self._evaluator.bench  # noqa: B018 - loaded before the time of the first trial counts
        self._begin()

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """One CPU, and one GPU where the cluster has any."""
        known: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = {"GPU": 1.0} if known.get("GPU") else {}
        return tune.PlacementGroupFactory([{"CPU": 1.0, **gpus}])

    def step(self) -> dict[str, Any]:
        """Train to the next rung; see :func:`~peftnas.search.cluster.tune_row.tune_row`.

        A point that is over budget or cannot be trained is reported as done without training.

        Raises:
            UsageError: if the config is no point of the study.
            CannotSaveError: if a snapshot cannot be written; Tune may try again.
        """
        from peftnas.search.trial.artifact import finished_result

        plan = self._plan()
        evaluator = self._evaluator
        finished = finished_result(self._folder, plan.key)
        if self._broken is not None:
            score = evaluator.refused(self._broken)
        elif finished is not None:
            score = evaluator.scorer.score(finished)
        else:
            score = evaluator.train(plan, self._folder, self._next_rung(plan))
        return tune_row(evaluator, plan, score, refused=self._broken)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the folder of the trial.

        Args:
            checkpoint_dir: an empty folder.
        """
        plan, folder = self._plan(), Path(checkpoint_dir)
        if self._folder.is_dir():
            shutil.copytree(self._folder, folder, dirs_exist_ok=True)
        content = {"key": plan.key, "seed": plan.seed, "words": plan.words, "config": self.config}
        (folder / _TRIAL).write_text(json.dumps(content, indent=1), encoding="utf-8")

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Make the trial of a checkpoint this one.

        Args:
            checkpoint: folder that :meth:`save_checkpoint` wrote.
        Raises:
            UsageError: if it is of another point of the space.
        """
        plan, folder = self._plan(), Path(checkpoint)
        known = json.loads((folder / _TRIAL).read_text(encoding="utf-8"))
        if (known["key"], known["seed"]) != (plan.key, plan.seed):
            raise UsageError(
                "a checkpoint goes on with the config and the study's seed that it was made with, "
                f"which was {known['words']!r}, got {plan.words!r}, perhaps with another recipe; "
                "take a scheduler that does not change configs"
            )
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(folder, self._folder, ignore=shutil.ignore_patterns(_TRIAL))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial on the loaded backbone."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._begin()
        return True

    def cleanup(self) -> None:
        """Remove the folder of the trial; its checkpoints are Tune's."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> None:
        """Forget the trial before this one."""
        # a trial that was paused may go on in another process, beside this one in one logdir
        self._folder = Path(self.logdir) / f"trial-{uuid.uuid4().hex[:8]}"
        self._planned: Plan | None = None
        self._broken: str | None = None

    def _plan(self) -> Plan:
        """How the config is trained, worked out once a trial."""
        if self._planned is None:
            draw = self._evaluator.point(_flat(self.config))
            self._planned = self._evaluator.plan(draw)
            self._broken = self._evaluator.broken(draw)
        return self._planned

    def _next_rung(self, plan: Plan) -> int:
        """The first rung above what was trained."""
        from peftnas.search.trial.snapshot import BadSnapshotError, read_snapshot

        try:
            snapshot = read_snapshot(self._folder)
        except BadSnapshotError:
            snapshot = None  # the training refuses it, says so, and begins anew
        reached = snapshot.step if snapshot is not None else 0
        return sum(steps <= reached for steps in self._evaluator.rungs)


def _flat(config: dict[str, Any], before: str = "") -> dict[str, Any]:
    """The config by Optuna's names; OptunaSearch nests a name at each slash in it."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{name}/")
        else:
            found[f"{before}{name}"] = value
    return found
