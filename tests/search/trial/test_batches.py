"""Batches: tokens once, padding on the right, an order that follows from the seed."""

from itertools import islice

import numpy as np
import pytest
import torch

from peftnas.search.backbone import Backbone
from peftnas.search.task_protocol import Split
from peftnas.search.trial.batches import (
    Tokens,
    evaluation_order,
    tokenise,
    training_order,
)
from tests.search.conftest import BAD, GOOD


def split(texts: list[str], pairs: list[str] | None = None) -> Split:
    return Split(texts, pairs, np.arange(len(texts)))


def tokens_of(backbone: Backbone, data: Split, length: int = 32, types: bool = False) -> Tokens:
    return tokenise(data, backbone.tokenizer(), length, pad=backbone.pad_id(), types=types)


def test_a_batch_holds_the_texts_in_order_padded_on_the_right(bert: Backbone) -> None:
    data = split([f"{GOOD[0]} {BAD[1]} {GOOD[2]}", GOOD[1], f"{BAD[0]} {BAD[2]}"])
    batch = tokens_of(bert, data).batch(np.array([2, 0]))
    words = bert.tokenizer().convert_ids_to_tokens(batch.input_ids[0].tolist())
    assert words == ["[CLS]", BAD[0], BAD[2], "[SEP]", "[PAD]"]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [2, 0]
    assert "token_type_ids" not in batch.inputs()


def test_pairs_are_told_apart(bert: Backbone) -> None:
    data = split([GOOD[0]], [f"{BAD[0]} {BAD[1]}"])
    batch = tokens_of(bert, data, types=True).batch(np.array([0]))
    assert batch.inputs()["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]]


def test_long_texts_are_cut(bert: Backbone) -> None:
    assert tokens_of(bert, split([" ".join(GOOD * 9)]), length=10).lengths.tolist() == [10]


def test_without_a_padding_token_another_one_fills(llama: Backbone) -> None:
    assert llama.tokenizer().pad_token_id is None
    batch = tokens_of(llama, split([GOOD[0], f"{GOOD[0]} {GOOD[1]}"])).batch(np.array([0, 1]))
    assert batch.attention_mask.tolist() == [[1, 0], [1, 1]]
    assert batch.input_ids[0, 1] == llama.pad_id() == 4


def test_a_text_without_tokens_is_refused(llama: Backbone) -> None:
    with pytest.raises(ValueError, match="at least one token, got none for text number 1"):
        tokens_of(llama, split([GOOD[0], ""]))


def test_labels_of_a_regression_stay_float(bert: Backbone) -> None:
    data = Split([GOOD[0]], None, np.array([0.25], dtype=np.float32))
    assert tokens_of(bert, data).batch(np.array([0])).labels.dtype == torch.float32


LENGTHS = np.random.default_rng(0).integers(1, 60, size=500)


def test_an_epoch_visits_every_example_at_most_once_in_full_batches() -> None:
    batches = list(islice(training_order(LENGTHS, 16, seed=1), 500 // 16))
    rows = np.concatenate(batches)
    assert {len(batch) for batch in batches} == {16}
    assert len(set(rows.tolist())) == len(rows)


def test_batches_hold_examples_of_similar_length() -> None:
    def padding(batches: list[np.ndarray]) -> float:
        padded = sum(len(batch) * LENGTHS[batch].max() for batch in batches)
        return 1 - sum(LENGTHS[batch].sum() for batch in batches) / padded

    shuffled = np.random.default_rng(0).permutation(496).reshape(-1, 16)
    assert padding(list(shuffled)) > 0.4
    assert padding(list(islice(training_order(LENGTHS, 16, seed=1), 31))) < 0.1


def test_the_order_follows_from_the_seed() -> None:
    def first(seed: int) -> list[list[int]]:
        return [rows.tolist() for rows in islice(training_order(LENGTHS, 16, seed), 70)]

    assert first(1) == first(1)
    assert first(1) != first(2)
    assert first(1)[:31] != first(1)[31:62], "epochs differ"


@pytest.mark.parametrize("size", [1, 4, 16, 600])
@pytest.mark.parametrize("start", [0, 1, 49, 50, 51, 123, 124, 125, 500, 1733])
def test_the_order_can_be_entered_anywhere(size: int, start: int) -> None:
    entered = islice(training_order(LENGTHS, size, 1, start), 70)
    expected = islice(training_order(LENGTHS, size, 1), start, start + 70)
    assert [rows.tolist() for rows in entered] == [rows.tolist() for rows in expected]


def test_lengths_do_not_come_in_order() -> None:
    longest = [LENGTHS[rows].max() for rows in islice(training_order(LENGTHS, 16, seed=3), 31)]
    assert longest != sorted(longest)


def test_fewer_examples_than_a_batch_are_all_used_each_step() -> None:
    first, second = islice(training_order(np.array([3, 1, 2]), 8, seed=0), 2)
    assert sorted(first.tolist()) == sorted(second.tolist()) == [0, 1, 2]


def test_evaluation_visits_each_row_once_within_its_bounds() -> None:
    lengths = np.random.default_rng(1).integers(1, 500, size=700)
    batches = evaluation_order(lengths, 1024)
    assert sorted(np.concatenate(batches).tolist()) == list(range(700))
    assert all(len(rows) * lengths[rows].max() <= 1024 for rows in batches)
    assert [rows.tolist() for rows in evaluation_order(np.array([9, 2000, 3]), 1024)] == [
        [2, 0],
        [1],
    ]
