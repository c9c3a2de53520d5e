"""A tiny random backbone, a small task, and a study that was run on them in this process."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = ("good", "fine", "great", "bad", "poor", "sad", "film", "book", "day", "a", "the", "was")


def make_backbone(folder: Path) -> Path:
    """A random BERT of two layers with a word tokenizer, saved as transformers does."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def make_data(folder: Path) -> Path:
    """A folder ``task`` with train.tsv, dev.tsv and test.tsv; two classes told apart by a word."""
    (folder / "task").mkdir(parents=True)
    for split, count in (("train", 60), ("dev", 20), ("test", 24)):
        lines = ["text\tlabel"]
        for i in range(count):
            kind = WORDS[(0 if i % 2 else 3) + i % 3]
            filler = " ".join(WORDS[(i + j) % 12] for j in range(i % 5))
            lines.append(
                f'the "{WORDS[6 + i % 3]}" was {kind} {filler}\t{"pos" if i % 2 else "neg"}'
            )
        (folder / f"task/{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


STUDY = """
from peftnas import Choice, Integer, Maybe, Recipe, SearchSpace, Study
from peftnas.methods import IA3, LoRA
from peftnas.studies.tasks import TextClassification

study = Study(
    name="tiny",
    backbone="backbone",
    task=TextClassification("task"),
    space=SearchSpace(Maybe(LoRA(rank=Integer(1, 4))), Maybe(IA3()), max_parameters=800),
    recipe=Recipe(steps=6, batch_size=8, learning_rate=Choice(1e-2, 1e-3), max_length=16),
)
"""


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``backbone/``, ``data/task/`` and ``study.py``."""
    folder = tmp_path_factory.mktemp("workplace")
    make_backbone(folder / "backbone")
    make_data(folder / "data")
    (folder / "study.py").write_text(STUDY)
    return folder


@pytest.fixture
def study_file(workplace: Path, tmp_path: Path) -> Callable[..., str]:
    """Writes a study file beside the backbone: the tiny study with some text replaced."""

    def write(*changes: tuple[str, str], text: str = STUDY) -> str:
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        path = workplace / f"study_{abs(hash((tmp_path, text)))}.py"
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write
