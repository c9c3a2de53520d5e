"""Predicted memory of a training step against what trials measure, for every kind of task."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftnas import Choice, Integer, Recipe, SearchSpace, Study, Subset
from peftnas.methods import Adapter, BitFit, Compacter, LoRA, Prefix, Prompt
from peftnas.search.backbone import Backbone
from peftnas.search.jobs import TrialJob
from peftnas.search.preflight import Prepared, prepare
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.spaces import Architecture, Maybe
from peftnas.studies.tasks import (
    ImageClassification,
    LanguageModelling,
    MultipleChoice,
    TextClassification,
    TextGeneration,
    ZeroShotImages,
)
from tests.studies.tasks.conftest import WORDS

LETTERS = WORDS[:12]
BOUND = 0.15
Rows = Callable[[np.random.Generator, int], dict[str, Any]]
Named = Callable[[str], Backbone]


def prepared(
    backbone: Backbone, task: Any, base: Path, space: Any = None, **recipe: Any
) -> Prepared:
    settings = {"steps": 25, "batch_size": 8, "max_length": 48, "evaluations": 1} | recipe
    space = space or SearchSpace(LoRA(rank=Integer(1, 8)))
    return prepare(Study("memory", backbone, task, space, recipe=Recipe(**settings)), base=base)


def error(found: Prepared, bench: Bench, *methods: Any, **recipe: Any) -> float:
    """Of the prediction, as a part of what a trial measured."""
    whole = found.study.recipe.replace(**recipe)
    architecture = found.bound.anatomy.canonical(Architecture(*methods))
    predicted = found.predictions.train_memory_bytes(architecture, whole)
    job = TrialJob(0, architecture.to_dict(), whole.to_dict(), 0, "key", "")
    result = run_trial(bench, job)
    assert result.status == "complete", result.error
    return predicted / result.measured["train_memory_bytes"] - 1


def written(folder: Path, rows: Rows, n: int = 200) -> str:
    generator = np.random.default_rng(0)
    lines = [json.dumps(rows(generator, number)) for number in range(n)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


def said(generator: np.random.Generator, least: int, most: int | None = None) -> str:
    words = generator.choice(LETTERS, generator.integers(least, (most or least) + 1))
    return " ".join(words)


def labelled(least: int, most: int) -> Rows:
    return lambda g, n: {"text": said(g, least, most), "label": ("yes", "no")[n % 2]}


def answered(asked: int, told: int) -> Rows:
    return lambda g, n: {"input": said(g, asked), "target": said(g, told)}


def images(folder: Path) -> str:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (100, 8, 8, 3)).astype(np.uint8)
    np.savez(folder / "images.npz", x=pixels, y=np.arange(100) % 20)
    return str(folder / "images.npz")


def choices(generator: np.random.Generator, number: int) -> dict[str, Any]:
    several = [str(one) for one in generator.choice(LETTERS, 3 + number % 3)]
    return {"text": said(generator, 10), "choices": several, "label": number % 3}


TASKS: dict[str, tuple[str, Callable[[Path], Any], dict[str, Any]]] = {
    "classes": ("bert", lambda f: TextClassification(written(f, labelled(20, 40))), {}),
    "classes, cut": ("bert", lambda f: TextClassification(written(f, labelled(50, 55))), {}),
    "fewer rows than a batch": (
        "llama",
        lambda f: TextClassification(written(f, labelled(20, 40), 20)),
        {"batch_size": 64},
    ),
    "language model": ("llama", lambda f: LanguageModelling(written(f, labelled(20, 40))), {}),
    "label words": (
        "llama",
        lambda f: TextClassification(
            written(f, labelled(20, 40)), label_words={"yes": "yes", "no": "no"}
        ),
        {},
    ),
    "short targets": (
        "llama",
        lambda f: TextGeneration(written(f, answered(30, 1)), max_new_tokens=4),
        {},
    ),
    "long targets": (
        "llama",
        lambda f: TextGeneration(written(f, answered(4, 30)), max_new_tokens=32),
        {},
    ),
    "short targets of an encoder-decoder": (
        "t5",
        lambda f: TextGeneration(written(f, answered(30, 1)), max_new_tokens=4),
        {},
    ),
    "long targets of an encoder-decoder": (
        "t5",
        lambda f: TextGeneration(written(f, answered(1, 30)), max_new_tokens=40),
        {},
    ),
    "several answers": ("bert", lambda f: MultipleChoice(written(f, choices)), {}),
    "images": ("vit", lambda f: ImageClassification(images(f)), {}),
    "names of images": ("clip", lambda f: ZeroShotImages(images(f)), {}),
}


@pytest.mark.parametrize("name", TASKS)
def test_each_task_takes_what_is_predicted(
    name: str, backbone_named: Named, tmp_path: Path
) -> None:
    backbone, task, recipe = TASKS[name]
    found = prepared(backbone_named(backbone), task(tmp_path), tmp_path, **recipe)
    assert abs(error(found, found.spec.build(), Adapter(bottleneck=8))) < BOUND


def test_texts_are_cut_to_the_room_beside_a_prompt(backbone_named: Named, tmp_path: Path) -> None:
    task = TextClassification(written(tmp_path, labelled(70, 90)))
    found = prepared(backbone_named("bert"), task, tmp_path, max_length=64)
    bench = found.spec.build()
    for length in (1, 20, 58):
        assert abs(error(found, bench, Prompt(length=length))) < BOUND


def test_what_is_asked_is_cut_to_the_room_beside_a_prompt_and_a_target(
    backbone_named: Named, tmp_path: Path
) -> None:
    task = TextGeneration(written(tmp_path, answered(60, 6)), max_new_tokens=8)
    found = prepared(backbone_named("llama"), task, tmp_path, max_length=64)
    bench = found.spec.build()
    for length in (2, 30):
        assert abs(error(found, bench, Prompt(length=length))) < BOUND


WIDE = SearchSpace(
    Maybe(LoRA(rank=Integer(1, 16), targets=Subset("query", "value", "up", "down"))),
    Maybe(Adapter(bottleneck=Integer(1, 32), insertion=Choice("serial", "parallel"))),
    Maybe(Prefix(length=Integer(1, 8))),
    Maybe(Prompt(length=Integer(1, 40))),
    Maybe(Compacter(bottleneck=Choice(4, 8))),
    Maybe(BitFit(add=True)),
)


def errors(backbone: Backbone, folder: Path, n: int) -> list[float]:
    """Of predictions for random architectures, batches and lengths."""
    # no multiple of a batch: some batch of the longest has a shorter text and a mask for it
    task = TextClassification(written(folder, labelled(20, 60), 119))
    found = prepared(backbone, task, folder, WIDE, max_length=Integer(16, 64))
    bench, choose = found.spec.build(), random.Random(1)
    recipes = [
        {"batch_size": choose.choice((4, 8, 16)), "max_length": choose.randint(16, 64)}
        for _ in range(n)
    ]
    drawn = zip(map(found.bound.sample, range(n)), recipes, strict=True)
    return [error(found, bench, *one.methods, steps=100, **recipe) for one, recipe in drawn]


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_random_architectures_take_what_is_predicted(
    name: str, backbone_named: Named, tmp_path: Path
) -> None:
    assert max(map(abs, errors(backbone_named(name), tmp_path, 5))) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "llama"])
def test_fifty_random_architectures_take_what_is_predicted(
    name: str, backbone_named: Named, tmp_path: Path
) -> None:
    found = sorted(map(abs, errors(backbone_named(name), tmp_path, 50)))
    print(f"{name}: error of 50 predictions: median {found[25]:.4f}, largest {found[-1]:.4f}")
    assert found[-1] < BOUND
