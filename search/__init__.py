"""How a space is explored: studies, objectives, samplers, the driver, results.

The names below load on first use, so that reading results needs neither torch nor Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftnas.search.backbone import Backbone
    from peftnas.search.cluster.trainable import as_trainable
    from peftnas.search.cluster.tune_space import TuneSpace
    from peftnas.search.errors import UsageError
    from peftnas.search.objectives import Objective
    from peftnas.search.plain_optuna import OptunaObjective
    from peftnas.search.recipe import Recipe
    from peftnas.search.results import StudyResults, TrialRow, open_results
    from peftnas.search.run_summary import RunSummary
    from peftnas.search.runner import run_study
    from peftnas.search.study import Study

__all__ = [
    "Backbone",
    "Objective",
    "OptunaObjective",
    "Recipe",
    "RunSummary",
    "Study",
    "StudyResults",
    "TrialRow",
    "TuneSpace",
    "UsageError",
    "as_trainable",
    "open_results",
    "run_study",
]

_HOMES = {
    "Backbone": "backbone",
    "Objective": "objectives",
    "OptunaObjective": "plain_optuna",
    "Recipe": "recipe",
    "RunSummary": "run_summary",
    "Study": "study",
    "StudyResults": "results",
    "TrialRow": "results",
    "TuneSpace": "cluster.tune_space",
    "UsageError": "errors",
    "as_trainable": "cluster.trainable",
    "open_results": "results",
    "run_study": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'peftnas.search' has no attribute {name!r}")
    return getattr(import_module(f"peftnas.search.{_HOMES[name]}"), name)
