"""Every kind of task on data of the literature: two trials each, scored as packages do.

The data lie in a folder of yours; ``make test-slow`` is told where, else all of this is skipped:

    make test-slow PEFTNAS_DATA=data PEFTNAS_WEIGHTS=weights ARGS="-k given_data -rP"

``PEFTNAS_DATA`` holds a folder a data set, ``PEFTNAS_WEIGHTS`` the decoder ``stories260K``.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from scipy.stats import pearsonr, spearmanr
from seqeval.metrics import f1_score as span_f1_score
from sklearn.metrics import accuracy_score, f1_score

from peftnas import Integer, Recipe, SearchSpace
from peftnas.methods import VPT, LoRA, Prompt
from peftnas.search.backbone import Backbone
from peftnas.studies.benchmarks.small_vit import main as pretrain_vit
from peftnas.studies.tasks import (
    ImageClassification,
    LanguageModelling,
    TextClassification,
    TextGeneration,
    TextRegression,
    TokenTagging,
)
from peftnas.studies.weights import package_folder
from tests.studies.tasks.conftest import Ran, run_two

pytestmark = pytest.mark.slow

Scores = dict[str, float]


def of_classes(logits: Any, labels: Any) -> Scores:
    best = logits.argmax(1)
    macro = f1_score(labels, best, average="macro", zero_division=0)
    return {"accuracy": accuracy_score(labels, best), "macro_f1": macro}


def of_numbers(answers: Any, labels: Any) -> Scores:
    pair = answers[:, 0], labels
    return {"spearman": spearmanr(*pair)[0], "pearson": pearsonr(*pair)[0]}


def of_tags(tags: Any, labels: Any) -> Scores:
    flat = [[tag for row in rows for tag in row] for rows in (labels, tags)]
    spans = span_f1_score(labels, tags, zero_division=0)
    return {"span_f1": spans, "tag_accuracy": accuracy_score(*flat)}


def of_texts(texts: Any, labels: Any) -> Scores:
    words = [[" ".join(text.split()) for text in some] for some in (labels, texts)]
    scorer = RougeScorer(["rougeL"])
    rouge = [scorer.score(*pair)["rougeL"].fmeasure for pair in zip(labels, texts, strict=True)]
    return {"exact_match": accuracy_score(*words), "rouge_l": float(np.mean(rouge))}


def of_likelihoods(sums: Any, counts: Any) -> Scores:
    return {"perplexity": math.exp(sums.sum() / counts.sum())}


WORDS = {"steps": 20, "batch_size": 16, "max_length": 32, "learning_rate": 5e-3}


@dataclass(frozen=True)
class Case:
    """A task on a data set.

    Attributes:
        task: its source is a folder of ``PEFTNAS_DATA``.
        backbone: minilm, stories or vit.
        scored: the metrics by their packages.
        recipe: of its trials; they are to end, not to learn much.
        truth: column of the development file that the labels are to equal.
    """

    task: Any
    backbone: str
    scored: Callable[[Any, Any], Scores]
    recipe: dict[str, Any] = field(default_factory=lambda: WORDS)
    truth: str | None = None


LETTERS = {"steps": 40, "max_length": 64, "learning_rate": 1e-2}
CASES = {
    "trec6": Case(TextClassification("trec6"), "minilm", of_classes),
    "sst2": Case(TextClassification("sst2_sent"), "minilm", of_classes, truth="label"),
    "rte": Case(
        TextClassification("rte", "text_a", "text_b"),
        "minilm",
        of_classes,
        WORDS | {"max_length": 64},
        truth="label",
    ),
    "stsb": Case(
        TextRegression("stsb", "text_a", "text_b", "score"), "minilm", of_numbers, truth="score"
    ),
    "tweet_emotion": Case(
        TextClassification("tweet_emotion"), "minilm", of_classes, truth="label"
    ),
    "banking77": Case(TextClassification("banking77"), "minilm", of_classes),
    "snips_intent": Case(TextClassification("snips"), "minilm", of_classes, truth="label"),
    "snips_slots": Case(TokenTagging("snips", "text", "slots"), "minilm", of_tags, truth="slots"),
    "scan_p16": Case(
        TextGeneration(
            "scan_p16",
            replace={
                "I_TURN_RIGHT": "right",
                "I_TURN_LEFT": "left",
                "I_JUMP": "jump",
                "I_WALK": "walk",
                "I_LOOK": "look",
                "I_RUN": "run",
            },
            max_new_tokens=64,
        ),
        "stories",
        of_texts,
        LETTERS | {"max_length": 128},
    ),
    "cmudict_g2p": Case(
        TextGeneration("cmudict_g2p", max_new_tokens=32), "stories", of_texts, LETTERS, "target"
    ),
    "sst2_label_words": Case(
        TextClassification(
            "sst2_sent",
            label_words={"0": "sad", "1": "happy"},
            template="{text}\nThe film was",
        ),
        "stories",
        of_classes,
        LETTERS,
        truth="label",
    ),
    "sst2_language": Case(LanguageModelling("sst2_sent"), "stories", of_likelihoods, LETTERS),
    "cifar10": Case(
        ImageClassification(
            "cifar10_small",
            splits={"train": "train_jpeg", "validation": "dev_jpeg", "test": "test_jpeg"},
        ),
        "vit",
        of_classes,
        {"steps": 60, "learning_rate": 5e-3},
    ),
}


@pytest.fixture(scope="module")
def data() -> Path:
    return _given("PEFTNAS_DATA", "the folder of the data sets")


def _given(variable: str, meaning: str) -> Path:
    if not (folder := os.environ.get(variable)):
        pytest.skip(f"{variable} is not set; it names {meaning}")
    return Path(folder).expanduser().absolute()


@pytest.fixture(scope="module")
def backbone_of(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    """minilm, stories or vit; the last is pretrained once, for a minute."""
    made: dict[str, Backbone] = {}

    def pretrained() -> Path:
        images, folder = data / "cifar10_small/train_jpeg.npz", tmp_path_factory.mktemp("vit")
        pretrain_vit(["--images", str(images), "--to", str(folder), "--minutes", "1"])
        return folder

    def find(name: str) -> Backbone:
        if name == "minilm":
            folder = package_folder()
        elif name == "stories":
            folder = _given("PEFTNAS_WEIGHTS", "the folder of stories260K") / "stories260K"
        else:
            folder = pretrained()
        if folder is None:
            pytest.skip("the weights of the quickstart are not installed; run make quickstart")
        return Backbone(folder, name)

    return lambda name: made.get(name) or made.setdefault(name, find(name))


@pytest.mark.parametrize("name", CASES)
def test_two_trials(
    name: str, data: Path, backbone_of: Callable[[str], Backbone], tmp_path: Path
) -> None:
    case = CASES[name]
    if not (data / case.task.source.origin).is_dir():
        pytest.skip(f"PEFTNAS_DATA has no folder {case.task.source.origin}")
    backbone = backbone_of(case.backbone)
    extra = VPT(length=2) if case.backbone == "vit" else Prompt(length=2)
    begun = time.perf_counter()
    ran = run_two(
        backbone,
        case.task,
        SearchSpace(LoRA(rank=Integer(1, 8)), extra),
        Recipe(evaluations=1, **case.recipe),
        tmp_path,
        data,
    )
    seconds = time.perf_counter() - begun

    assert ran.results.front() and len(ran.results.finished) == 2
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        expected = case.scored(predictions, labels)
        assert metrics == pytest.approx({each: expected[each] for each in case.task.metrics})
        assert all(_in_range(each, value) for each, value in metrics.items())
        if case.truth is not None:
            _compare(ran, labels, _column(data / case.task.source.origin / "dev.tsv", case.truth))
    scores = ", ".join(
        f"{each} {' and '.join(f'{metrics[each]:.4f}' for metrics in ran.metrics)}"
        for each in case.task.metrics
    )
    print(f"{name}: {type(case.task).__name__} on {case.backbone}, {scores}; {seconds:.0f} s")


def _in_range(metric: str, value: float) -> bool:
    least, most = {"perplexity": (1, math.inf), "spearman": (-1, 1), "pearson": (-1, 1)}.get(
        metric, (0, 1)
    )
    return math.isfinite(value) and least <= value <= most


def _column(path: Path, name: str) -> list[str]:
    header, *rows = [line.split("\t") for line in path.read_text("utf-8").split("\n") if line]
    return [row[header.index(name)] for row in rows]


def _compare(ran: Ran, labels: Sequence[Any], column: list[str]) -> None:
    """The labels that were scored are those of the file, in its order."""
    names = ran.bench.data.label_names
    match labels[0]:
        case np.integer():
            assert [names[label] for label in labels] == column
        case np.floating():
            np.testing.assert_allclose(labels, np.array(column, dtype=float), rtol=1e-6)
        case list():
            assert [" ".join(tags) for tags in labels] == column
        case _:
            assert labels == column
