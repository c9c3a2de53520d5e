"""Targets of generation: each ends with the sign that stops it, or the tokenizer is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import LlamaConfig, T5Config

from peftnas.search.errors import UsageError
from peftnas.search.splits import TargetSplit
from peftnas.search.trial.forms.form import Reader
from peftnas.search.trial.forms.generation import Generation
from tests.search.trial.forms.test_tagging import trained

SPLIT = TargetSplit(["the films", "a"], ["the", ""])


@pytest.mark.parametrize("config", [LlamaConfig(), T5Config()])
def test_a_tokenizer_without_an_end_is_refused(config: LlamaConfig | T5Config) -> None:
    reader = Reader(Path(), config, trained("bytes"), 0)
    with pytest.raises(UsageError, match="sign that ends a text.*got none; set eos_token"):
        Generation(max_new_tokens=4).rows(SPLIT, reader, 64, ())


@pytest.mark.parametrize("config", [LlamaConfig(), T5Config()])
def test_an_empty_target_is_its_end(config: LlamaConfig | T5Config) -> None:
    tokenizer = trained("bytes")
    tokenizer.eos_token = "[SEP]"
    rows = Generation(max_new_tokens=4).rows(SPLIT, Reader(Path(), config, tokenizer, 0), 64, ())
    import numpy as np

    assert rows.batch(np.array([1])).labels.tolist() == [tokenizer.eos_token_id]
