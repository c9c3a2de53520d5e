"""The GLUE tasks from the hub, each with its columns and its official metrics.

Source: Wang et al., GLUE, ICLR 2019, table 1; data set ``nyu-mll/glue``.
"""

from __future__ import annotations

from dataclasses import dataclass

from peftnas.studies.tasks.arguments import check_known
from peftnas.studies.tasks.classification import TextClassification
from peftnas.studies.tasks.regression import TextRegression
from peftnas.studies.tasks.text import TextTask

HUB_NAME = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueTask:
    """Columns and metrics of one task; the first metric is the default objective."""

    text: str
    text_pair: str | None
    metrics: tuple[str, ...]
    regression: bool = False
    # MNLI has two of them; the matched genres are the ones that GLUE reports first
    validation: str = "validation"
    test: str = "test"


GLUE = {
    "cola": GlueTask("sentence", None, ("matthews",)),
    "sst2": GlueTask("sentence", None, ("accuracy",)),
    "mrpc": GlueTask("sentence1", "sentence2", ("f1", "accuracy")),
    "qqp": GlueTask("question1", "question2", ("f1", "accuracy")),
    "stsb": GlueTask("sentence1", "sentence2", ("spearman", "pearson"), regression=True),
    "mnli": GlueTask(
        "premise",
        "hypothesis",
        ("accuracy",),
        validation="validation_matched",
        test="test_matched",
    ),
    "qnli": GlueTask("question", "sentence", ("accuracy",)),
    "rte": GlueTask("sentence1", "sentence2", ("accuracy",)),
    "wnli": GlueTask("sentence1", "sentence2", ("accuracy",)),
}


def glue(name: str) -> TextTask:
    """One GLUE task; the hub is asked for it only when the task is opened.

    GLUE withholds its test labels, so a test split is held out of train.

    Args:
        name: cola, sst2, mrpc, qqp, stsb, mnli, qnli, rte or wnli.
    Raises:
        ValueError: if there is no such task.
    """
    task = GLUE[check_known("GLUE", name, GLUE)]
    make = TextRegression if task.regression else TextClassification
    return make(
        HUB_NAME,
        task.text,
        task.text_pair,
        "label",
        metrics=task.metrics,
        name=f"glue-{name}",
        config=name,
        splits={"validation": task.validation, "test": task.test},
    )
