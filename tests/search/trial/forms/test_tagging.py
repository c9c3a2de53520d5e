"""Which token stands for which word, whatever the tokenizer does with spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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
