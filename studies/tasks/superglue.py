"""The SuperGLUE tasks from the hub, each with its columns and its metrics.

Source: Wang et al., SuperGLUE, NeurIPS 2019, table 1; data set ``aps/super_glue``. ReCoRD is left
out: its answers are entities of a text, which none of the tasks here is.
"""

from __future__ import annotations

from collections.abc import Callable

from peftnas.studies.tasks.arguments import check_known
from peftnas.studies.tasks.classification import TextClassification
from peftnas.studies.tasks.multiple_choice import MultipleChoice
from peftnas.studies.tasks.source_task import SourceTask

HUB_NAME = "aps/super_glue"


def _classes(name: str, text: str, text_pair: str | None, *metrics: str) -> SourceTask:
    return TextClassification(
        HUB_NAME,
        text,
        text_pair,
        "label",
        metrics=metrics or ("accuracy",),
        name=f"superglue-{name}",
        config=name,
    )


def _copa(name: str) -> SourceTask:
    asked = "{premise} What is the {question}?"
    choices = ("choice1", "choice2")
    return MultipleChoice(HUB_NAME, asked, choices, "label", name=f"superglue-{name}", config=name)


SUPERGLUE: dict[str, Callable[[str], SourceTask]] = {
    "boolq": lambda name: _classes(name, "question", "passage"),
    "cb": lambda name: _classes(name, "premise", "hypothesis", "macro_f1", "accuracy"),
    "copa": _copa,
    # answers judged one by one; the F1 over all of them is the paper's F1a
    "multirc": lambda name: _classes(name, "{question} {answer}", "paragraph", "f1", "accuracy"),
    "rte": lambda name: _classes(name, "premise", "hypothesis"),
    "wic": lambda name: _classes(name, "{word}: {sentence1}", "{word}: {sentence2}"),
    "wsc": lambda name: _classes(name, "{span2_text}: {span1_text}", "text"),
}


def superglue(name: str) -> SourceTask:
    """One SuperGLUE task; the hub is asked for it only when the task is opened.

    SuperGLUE withholds its test labels, so a test split is held out of train.

    Args:
        name: boolq, cb, copa, multirc, rte, wic or wsc.
    Raises:
        ValueError: if there is no such task.
    """
    return SUPERGLUE[check_known("SuperGLUE", name, SUPERGLUE)](name)
