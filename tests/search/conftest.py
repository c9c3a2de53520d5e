"""Tiny backbones in real folders, and a task that they can learn; no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import DistilBertConfig

from peftnas.methods import LoRA
from peftnas.search.backbone import Backbone
from peftnas.search.jobs import TrialJob
from peftnas.search.recipe import Recipe
from peftnas.search.task_protocol import Split, TaskData
from peftnas.search.trial.bench import BenchSpec
from peftnas.spaces.architecture import Architecture
from tests.backbones import BAD, GOOD, bert_config, llama_config, save_backbone


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return Backbone(save_backbone(tmp_path_factory.mktemp("bert"), bert_config()), "tiny-bert")


@pytest.fixture(scope="session")
def distilbert(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    config = DistilBertConfig(
        dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=40
    )
    return Backbone(save_backbone(tmp_path_factory.mktemp("distilbert"), config))


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """Grouped queries, no padding token."""
    config = llama_config()
    return Backbone(save_backbone(tmp_path_factory.mktemp("llama"), config, pad=False))


@dataclass(frozen=True)
class GoodOrBad:
    """Which kind of word is in the majority; with ``regression``, how large its part is."""

    regression: bool = False
    name: str = "good_or_bad"
    metrics: tuple[str, ...] = ("accuracy",)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "regression": self.regression}

    def open(self, data: Path | None, base: Path, seed: int) -> TaskData:
        names = () if self.regression else ("bad", "good")
        train, validation = self.split(120, seed), self.split(40, seed + 1)
        return TaskData(train, validation, names, 1 if self.regression else 2)

    def test(self, data: Path | None, base: Path, seed: int) -> Split:
        raise AssertionError("a trial asked for the test split")

    def split(self, n: int, seed: int) -> Split:
        random = np.random.default_rng(seed)
        texts, parts = [], []
        for _ in range(n):
            length = int(random.integers(1, 16))
            good = random.random(length) < random.random()
            texts.append(" ".join(str(random.choice(GOOD if g else BAD)) for g in good))
            parts.append(good.mean())
        part = np.asarray(parts)
        if self.regression:
            return Split(texts, None, part.astype(np.float32))
        return Split(texts, None, (part > 0.5).astype(np.int64))

    def score(self, predictions: Any, labels: Any) -> dict[str, float]:
        if self.regression:
            return {"error": float(np.abs(predictions[:, 0] - labels).mean())}
        return {"accuracy": float((predictions.argmax(1) == labels).mean())}


@pytest.fixture(scope="session")
def good_or_bad() -> type[GoodOrBad]:
    return GoodOrBad


SpecOf = Callable[..., BenchSpec]


@pytest.fixture(scope="session")
def spec_of() -> SpecOf:
    """A bench spec over a backbone and the tiny task."""

    def build(backbone: Backbone, *, regression: bool = False) -> BenchSpec:
        task = GoodOrBad(regression)
        return BenchSpec(backbone, task, task.open(None, Path(), 3)).with_tokens([32])

    return build


JobOf = Callable[..., TrialJob]


@pytest.fixture(scope="session")
def job_of() -> JobOf:
    """A job for some methods, short unless the recipe's changes say otherwise."""

    def build(
        *methods: Any, number: int = 0, seed: int = 11, folder: str = "", **recipe: Any
    ) -> TrialJob:
        changes = {"steps": 12, "batch_size": 8, "max_length": 32, "evaluations": 2} | recipe
        return TrialJob(
            number,
            Architecture(*(methods or (LoRA(rank=2),))).to_dict(),
            Recipe(**changes).to_dict(),
            seed,
            f"key-{number}",
            folder,
        )

    return build
