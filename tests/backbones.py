"""Tiny random backbones in real folders, for tests of the search and of studies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModel,
    BertConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "</s>")
GOOD = tuple(f"good{n}" for n in range(3))
BAD = tuple(f"bad{n}" for n in range(3))


def save_tokenizer(folder: Path, *, pad: bool, known: Sequence[str] = (*GOOD, *BAD)) -> int:
    """Write a tokenizer of whole words; returns the size of its vocabulary."""
    words = {word: number for number, word in enumerate((*SPECIAL, *known))}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if pad:
        inner.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])],
        )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"} if pad else {}
    PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", eos_token="</s>", **names
    ).save_pretrained(folder)
    return len(words)


def save_backbone(
    folder: Path,
    config: PreTrainedConfig,
    *,
    pad: bool = True,
    known: Sequence[str] = (*GOOD, *BAD),
    auto: Any = AutoModel,
) -> Path:
    """Write a random model of a config, and its tokenizer."""
    config.vocab_size = save_tokenizer(folder, pad=pad, known=known)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        auto.from_config(config).save_pretrained(folder)
    return folder


def bert_config() -> BertConfig:
    return BertConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=40,
        initializer_range=0.3,
    )


def llama_config(layers: int = 2) -> LlamaConfig:
    """Grouped queries, no padding token."""
    return LlamaConfig(
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=4,
    )
