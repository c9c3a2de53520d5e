"""Which token stands for which word, whatever the tokenizer does with spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import BertConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from peftnas.search.splits import TaggedSplit
from peftnas.search.trial.forms.form import Reader
from peftnas.search.trial.forms.tagging import NOWHERE, TaggedRows, Tagging

WORDS = [["the", "untouchable", "films"], ["a"], ["unfilmable", ",", "über", "the"]]
TAGS = [["O", "B-x", "I-x"], ["O"], ["B-x", "O", "I-x", "O"]]
NAMES = ("B-x", "I-x", "O")


def trained(kind: str) -> PreTrainedTokenizerBase:
    """A tokenizer of word pieces, of bytes with spaces in front, or of sentence pieces."""
    texts = [" ".join(words) for words in WORDS]
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    if kind == "word pieces":
        inner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=45, special_tokens=special)
    elif kind == "bytes":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=35, special_tokens=special)
    else:
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.BpeTrainer(vocab_size=35, special_tokens=special)
    inner.train_from_iterator(texts, trainer)
    if kind == "word pieces":
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]")


def rows_of(kind: str, length: int = 64) -> tuple[TaggedRows, PreTrainedTokenizerBase]:
    tokenizer = trained(kind)
    reader = Reader(Path(), BertConfig(), tokenizer, 0)
    rows = Tagging().rows(TaggedSplit(WORDS, TAGS), reader, length, NAMES)
    assert isinstance(rows, TaggedRows)
    return rows, tokenizer


@pytest.mark.parametrize("kind", ["word pieces", "bytes", "sentence pieces"])
def test_each_word_is_tagged_at_its_first_token(kind: str) -> None:
    rows, tokenizer = rows_of(kind)
    batch = rows.batch(np.array([2, 0, 1]))
    assert batch.labels.tolist() == [NAMES.index(t) for n in (2, 0, 1) for t in TAGS[n]]
    words = [word for number in (2, 0, 1) for word in WORDS[number]]
    found = batch.input_ids[batch.rows, batch.places].tolist()
    for word, token in zip(words, found, strict=True):
        piece = tokenizer.decode([token]).replace("▁", "").strip()
        # a piece of a character of several bytes cannot be shown
        assert word.startswith(piece) or "\ufffd" in piece, (word, piece)
    assert batch.rows.tolist() == [0, 0, 0, 0, 1, 1, 1, 2]


@pytest.mark.parametrize("kind", ["word pieces", "bytes", "sentence pieces"])
def test_words_that_are_cut_have_no_place(kind: str) -> None:
    rows, _ = rows_of(kind, length=4)
    assert (rows.places == NOWHERE).any()
    assert (rows.places < 4).all()
    batch = rows.batch(np.array([0, 1, 2]))
    assert len(batch.labels) == int((rows.places != NOWHERE).sum())


def test_a_word_is_not_read_before_it_begins() -> None:
    """The space that sentence pieces put in front of the first word says nothing of it."""
    tokenizer = trained("sentence pieces")
    texts = [["ble", "the"], ["▁", "a"]]
    reader = Reader(Path(), BertConfig(), tokenizer, 0)
    rows = Tagging().rows(TaggedSplit(texts, [["O", "O"]] * 2), reader, 64, NAMES)
    assert isinstance(rows, TaggedRows)
    batch = rows.batch(np.array([0, 1]))
    found = tokenizer.convert_ids_to_tokens(batch.input_ids[batch.rows, batch.places].tolist())
    assert "▁" in tokenizer.convert_ids_to_tokens(batch.input_ids[0].tolist())
    assert found[0].strip("▁").startswith("b") and found[1].strip("▁").startswith("t")
    assert len(found) == 4, "a word that is such a mark has a token too"


def test_tags_that_training_lacks_are_no_part_of_the_loss() -> None:
    reader = Reader(Path(), BertConfig(), trained("bytes"), 0)
    rows = Tagging().rows(TaggedSplit(WORDS[:1], [["O", "B-y", "I-x"]]), reader, 64, NAMES)
    batch = rows.batch(np.array([0]))
    answer = torch.arange(9.0).reshape(3, 3).sin()
    kept = torch.tensor([0, 2])
    expected = torch.nn.functional.cross_entropy(answer[kept], torch.tensor([2, 1]))
    assert float(Tagging().loss(answer, batch.labels)) == pytest.approx(float(expected))
    assert rows.labels == [["O", "B-y", "I-x"]]


def test_a_batch_without_a_word_that_has_a_token() -> None:
    tokenizer = trained("word pieces")
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[attr-defined]
    reader = Reader(Path(), BertConfig(), tokenizer, 0)
    split = TaggedSplit([["\x00"], ["the"]], [["O"], ["B-x"]])
    rows = Tagging().rows(split, reader, 64, NAMES)
    assert isinstance(rows, TaggedRows)
    assert rows.places.tolist() == [NOWHERE, 1]
    batch = rows.batch(np.array([0]))
    answer = torch.zeros((0, 3), requires_grad=True)
    loss = Tagging().loss(answer, batch.labels)
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_the_loss_of_a_split_is_finite_where_a_text_has_no_token() -> None:
    tokenizer = trained("word pieces")
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()  # type: ignore[attr-defined]
    reader = Reader(Path(), BertConfig(), tokenizer, 0)
    split = TaggedSplit([["\x00"], ["the"] * 600], [["O"], ["B-x"] * 600])
    rows = Tagging().rows(split, reader, 1200, NAMES)

    class Fixed:
        """Answers zero logits; stands where a trained model would."""

        base = torch.nn.Linear(1, 1)
        base.device = torch.device("cpu")  # type: ignore[assignment]

        def train(self, mode: bool) -> None: ...

        def logits(self, batch: object) -> torch.Tensor:
            return torch.zeros((len(batch.labels), 3))  # type: ignore[attr-defined]

    outcome = Tagging().evaluate(Fixed(), rows)  # type: ignore[arg-type]
    assert outcome.loss == pytest.approx(np.log(3), rel=1e-5)
    assert outcome.predictions[0] == ["O"]
