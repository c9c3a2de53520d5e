"""The study that a space of the literature becomes on the default backbone and task."""

from __future__ import annotations

from peftnas.search.recipe import Recipe
from peftnas.search.study import Study
from peftnas.spaces.domains import Real
from peftnas.spaces.space import SearchSpace
from peftnas.studies.tasks.stdlib_docstrings import StdlibDocstrings
from peftnas.studies.weights import backbone

LAYERS = 6
"""Layers of the default backbone, all-MiniLM-L6-v2: a bert of width 384."""


def study_on_default(name: str, space: SearchSpace) -> Study:
    """A study with the recipe of the quickstart.

    Papers train every architecture at one rate; here the rate is searched with it, since no one
    rate is fair to all.

    Args:
        name: of the study.
        space: one that fits a bert of six layers.
    """
    return Study(
        name=name,
        backbone=backbone,
        task=StdlibDocstrings(),
        space=space,
        recipe=Recipe(
            steps=60,
            batch_size=32,
            learning_rate=Real(1e-3, 1e-2, log=True),
            head_learning_rate=2e-2,
            pooling="mean",
            max_length=40,
            evaluations=2,
        ),
        objectives=("accuracy", "trainable_parameters"),
    )
