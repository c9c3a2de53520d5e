"""Tiny backbones of every kind that tasks take, and a study of two trials on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    CLIPConfig,
    LlamaConfig,
    T5Config,
    ViTConfig,
)

from peftnas import Integer, Recipe, SearchSpace, Study
from peftnas.methods import LoRA
from peftnas.search import open_results, run_study
from peftnas.search.backbone import Backbone
from peftnas.search.inline_pool import InlinePool
from peftnas.search.preflight import Prepared
from peftnas.search.storage import sqlite_url
from peftnas.search.trial.bench import Bench
from peftnas.search.trial.fine_tune import run_trial
from peftnas.studies.restore import TrainedTrial, trained_trial
from tests.backbones import save_backbone

WORDS = tuple("abcdefghijkl") + tuple("ABCDEFGHIJKL") + ("=", ":", "yes", "no", "is", "?")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.3,
}
IMAGE = SIZES | {"image_size": 8, "patch_size": 4}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def backbone_named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Backbone]:
    """bert, llama, t5, vit or clip; made once."""
    made: dict[str, Backbone] = {}

    def build(name: str) -> Backbone:
        if name not in made:
            made[name] = Backbone(_saved(tmp_path_factory.mktemp(name), name), name)
        return made[name]

    return build


def _saved(folder: Path, name: str) -> Path:
    if name == "bert":
        return save_backbone(folder, BertConfig(max_position_embeddings=64, **SIZES), known=WORDS)
    if name == "llama":
        config = LlamaConfig(
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=4,
            pad_token_id=0,
            **SIZES,
        )
        return save_backbone(folder, config, pad=False, known=WORDS, auto=AutoModelForCausalLM)
    if name == "t5":
        config = T5Config(
            d_model=32,
            d_kv=8,
            d_ff=48,
            num_layers=2,
            num_decoder_layers=2,
            num_heads=4,
            pad_token_id=0,
            eos_token_id=4,
            decoder_start_token_id=0,
        )
        return save_backbone(folder, config, known=WORDS, auto=AutoModelForSeq2SeqLM)
    said = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "do_center_crop": name == "clip"}
    (folder / "preprocessor_config.json").write_text(json.dumps(said))
    if name == "vit":
        torch.manual_seed(0)
        AutoModel.from_config(ViTConfig(**IMAGE)).save_pretrained(folder)
        return folder
    text = SIZES | {
        "max_position_embeddings": 16,
        "vocab_size": 5 + len(WORDS),
        "bos_token_id": 2,
        "eos_token_id": 4,
        "pad_token_id": 0,
    }
    return save_backbone(
        folder, CLIPConfig(text_config=text, vision_config=IMAGE, projection_dim=16), known=WORDS
    )


@dataclass
class Ran:
    """A study that was run to its end.

    Attributes:
        metrics: of each finished trial, as recorded.
        found: predictions and labels of each, asked again of its checkpoint.
        out: folder of the study.
        bench, results: of the study.
    """

    metrics: list[dict[str, float]]
    found: list[tuple[Any, Any]]
    out: Path
    bench: Bench
    results: Any

    def trained(self, number: int = 0) -> Any:
        return trained_trial(self.results, number, self.bench, self.out)


@pytest.fixture
def two_trials(backbone_named: Callable[[str], Backbone], tmp_path: Path) -> Callable[..., Ran]:
    """Runs a study of two trials on a tiny backbone, in this process."""

    def run(name: str, task: Any, *methods: Any, data: Path | None = None, **recipe: Any) -> Ran:
        settings = {
            "steps": 4,
            "batch_size": 8,
            "max_length": 48,
            "evaluations": 1,
            "learning_rate": 1e-2,
        }
        space = SearchSpace(LoRA(rank=Integer(1, 8)), *methods)
        made = Recipe(**(settings | recipe))
        return run_two(backbone_named(name), task, space, made, tmp_path, data)

    return run


def run_two(
    backbone: Backbone,
    task: Any,
    space: SearchSpace,
    recipe: Recipe,
    folder: Path,
    data: Path | None = None,
) -> Ran:
    """Two trials of a study, in this process; each checkpoint is asked once more.

    Args:
        folder: for what the study writes.
        data: where the task finds its files; ``None``: in ``folder``.
    """
    study = Study("two", backbone, task, space, recipe=recipe)
    benches: list[Bench] = []

    def pool(prepared: Prepared) -> InlinePool:
        benches.append(prepared.spec.build())
        return InlinePool(lambda job: run_trial(benches[0], job))

    out = folder / "out"
    options = {"out": out, "progress": False, "make_pool": pool, "baselines": False}
    summary = run_study(study, trials=2, data=data or folder, base=folder, **options)
    assert (summary.trained, summary.failed) == (2, 0), summary.last_failure
    results = open_results(sqlite_url(out), "two")
    ran = Ran([], [], out, benches[0], results)
    for number in range(2):
        ran.metrics.append(results.trial(number).metrics)
        with ran.trained(number) as trained:
            ran.found.append(_asked(trained))
    return ran


def _asked(trained: TrainedTrial) -> tuple[Any, Any]:
    with trained.answerer() as answerer:
        return answerer.predict(trained.bench.data.validation)


def write_rows(folder: Path, rows: Callable[[np.random.Generator], dict[str, Any]]) -> None:
    """train.jsonl (40 rows), dev.jsonl and test.jsonl (16 each) of a drawn task."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate((("train", 40), ("dev", 16), ("test", 16))):
        random = np.random.default_rng(seed)
        lines = [json.dumps(rows(random)) for _ in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


def some_letters(
    random: np.random.Generator, least: int = 2, most: int = 7, letters: str = "abcdefghijkl"
) -> list[str]:
    return [str(one) for one in random.choice(list(letters), random.integers(least, most))]
