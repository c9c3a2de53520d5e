"""Tagging, language models, generation, label words: two trials each, scored as packages do."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rouge_score.rouge_scorer import RougeScorer
from seqeval.metrics import f1_score
from sklearn.metrics import accuracy_score

from peftnas.methods import Prefix, Prompt
from peftnas.studies.export import export, load_exported
from peftnas.studies.tasks import (
    DataError,
    Instructions,
    LanguageModelling,
    TextClassification,
    TextGeneration,
    TokenTagging,
)
from tests.studies.tasks.conftest import Ran, some_letters, write_rows

TwoTrials = Callable[..., Ran]


def tagged(random: np.random.Generator) -> dict[str, Any]:
    """Spans of capital letters."""
    words, tags = some_letters(random, letters="ab"), []
    for place, word in enumerate(words):
        inside = random.random() < 0.5
        words[place] = word.upper() if inside else word
        tags.append(("I-cap" if tags and tags[-1] != "O" else "B-cap") if inside else "O")
    return {"words": " ".join(words), "tags": tags}


@pytest.mark.parametrize("backbone", ["bert", "llama"])
def test_tagging(two_trials: TwoTrials, tmp_path: Path, backbone: str) -> None:
    write_rows(tmp_path / "t", tagged)
    ran = two_trials(backbone, TokenTagging("t"), Prompt(length=2), steps=150)
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        assert [len(row) for row in predictions] == [len(row) for row in labels]
        assert metrics["span_f1"] == pytest.approx(f1_score(labels, predictions))
        flat = [sum(rows, []) for rows in (labels, predictions)]
        assert metrics["tag_accuracy"] == pytest.approx(accuracy_score(*flat))
    assert max(metrics["tag_accuracy"] for metrics in ran.metrics) > 0.7

    with ran.trained() as trained:
        lines = export(trained, "two", tmp_path / "e")
        with trained.answerer() as answerer:
            expected = answerer([["a", "B", "C"], ["D"]])
    assert 'tags = model([["a", "text"]])' in lines
    model = load_exported(tmp_path / "e")
    assert model([["a", "B", "C"], ["D"]]) == expected


def test_a_word_beyond_the_largest_length_is_outside(
    two_trials: TwoTrials, tmp_path: Path
) -> None:
    write_rows(tmp_path / "t", tagged)
    ran = two_trials("bert", TokenTagging("t"), max_length=4)
    predictions, labels = ran.found[0]
    assert any(len(row) > 2 for row in labels)
    assert all(set(row[2:]) <= {"O"} for row in predictions)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"words": "a b", "tags": ["O"]}, "one tag for each of its words, got 2 words and 1 tags"),
        ({"words": "a b", "tags": ["O", "NOUN"]}, "take metrics='tag_accuracy'"),
        ({"words": "a b", "tags": ["O", "O"]}, "at least two tags, got 'O'"),
    ],
)
def test_tags_that_cannot_be_used(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    write_rows(tmp_path / "t", lambda random: row)
    with pytest.raises(DataError, match=words):
        TokenTagging("t").open(tmp_path, tmp_path, 0)


def plain(random: np.random.Generator) -> dict[str, Any]:
    return {"text": " ".join(some_letters(random))}


def test_language_modelling(
    two_trials: TwoTrials, tmp_path: Path, backbone_named: Callable[[str], Any]
) -> None:
    write_rows(tmp_path / "t", plain)
    ran = two_trials("llama", LanguageModelling("t"), Prefix(length=2), Prompt(length=2))
    # each text alone through the model with its labels, as transformers computes the loss
    for number, metrics in enumerate(ran.metrics):
        with ran.trained(number) as trained, trained.answerer() as answerer:
            tokens, total = 0, 0.0
            for text in ran.bench.data.validation.texts:
                ids = torch.tensor([[*answerer.tokenizer(text).input_ids, 4]])
                with torch.no_grad():
                    loss = answerer.classifier.base(input_ids=ids, labels=ids).loss
                told = ids.shape[1] - 1
                assert answerer([text])[0] == pytest.approx(told * float(loss), rel=1e-4)
                tokens, total = tokens + told, total + told * float(loss)
        assert metrics["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-4)


def copied(random: np.random.Generator) -> dict[str, Any]:
    letters = some_letters(random, 1, 3)
    return {"input": " ".join(letters), "target": " ".join(letters).upper()}


@pytest.mark.parametrize("backbone", ["llama", "t5"])
def test_generation(two_trials: TwoTrials, tmp_path: Path, backbone: str) -> None:
    write_rows(tmp_path / "t", copied)
    task = TextGeneration("t", "{input} =", max_new_tokens=5, metrics=("exact_match", "rouge_l"))
    ran = two_trials(backbone, task, Prefix(length=2), steps=6)
    scorer = RougeScorer(["rougeL"])
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        assert all(isinstance(text, str) for text in predictions)
        assert metrics["exact_match"] == accuracy_score(labels, predictions)
        rouge = [scorer.score(*pair) for pair in zip(labels, predictions, strict=True)]
        assert metrics["rouge_l"] == pytest.approx(
            np.mean([one["rougeL"].fmeasure for one in rouge])
        )
    with ran.trained() as trained:
        export(trained, "two", tmp_path / "e")
        with trained.answerer() as answerer:
            expected = answerer(["a b ="])
    assert load_exported(tmp_path / "e")(["a b ="]) == expected


@pytest.mark.parametrize("backbone", ["llama", "t5"])
def test_what_is_generated_is_the_likeliest_token_each_time(
    two_trials: TwoTrials, tmp_path: Path, backbone: str
) -> None:
    """Token by token without a cache, the whole text read again for each."""
    write_rows(tmp_path / "t", copied)
    task = TextGeneration("t", "{input} =", max_new_tokens=5)
    ran = two_trials(backbone, task, Prompt(length=2), Prefix(length=2))
    for number in range(2):
        with ran.trained(number) as trained, trained.answerer() as answerer:
            model, tokenizer = answerer.classifier.base, answerer.tokenizer
            ids = torch.tensor([tokenizer("c b =").input_ids])
            written: list[int] = []
            while len(written) < 5 and 4 not in written:
                with torch.no_grad():
                    if backbone == "t5":
                        begun = torch.tensor([[0, *written]])
                        logits = model(input_ids=ids, decoder_input_ids=begun).logits
                    else:
                        new = torch.tensor([written], dtype=torch.long)
                        logits = model(torch.cat([ids, new], 1), use_cache=False).logits
                written.append(int(logits[0, -1].argmax()))
            assert answerer(["c b ="]) == [tokenizer.decode(written, skip_special_tokens=True)]


def test_the_loss_is_on_the_target_alone(two_trials: TwoTrials, tmp_path: Path) -> None:
    write_rows(tmp_path / "t", copied)
    ran = two_trials("llama", TextGeneration("t", "{input} =", max_new_tokens=5))
    rows = ran.bench.examples(48).train
    batch = rows.batch(np.arange(3))
    told = [row.split() for row in ran.bench.data.train.targets[:3]]
    tokenizer = ran.bench.backbone.tokenizer()
    expected = [[*tokenizer(row, is_split_into_words=True).input_ids, 4] for row in told]
    assert batch.labels.tolist() == sum(expected, [])


def test_instructions_read_several_columns(tmp_path: Path) -> None:
    write_rows(
        tmp_path / "t",
        lambda random: {"instruction": "Copy", "input": None, "output": some_letters(random)[0]},
    )
    task = Instructions("t")
    data = task.open(tmp_path, tmp_path, 0)
    assert data.train.inputs[0] == "Instruction: Copy\n\nResponse: "
    assert task.metrics[0] == "rouge_l"


def test_no_room_for_an_input_is_said_before_training(
    two_trials: TwoTrials, tmp_path: Path
) -> None:
    write_rows(tmp_path / "t", copied)
    with pytest.raises(ValueError, match="leave room for an input before 48 new tokens"):
        two_trials("llama", TextGeneration("t", max_new_tokens=48))


def judged(random: np.random.Generator) -> dict[str, Any]:
    letters = some_letters(random)
    label = "good" if letters[0] < "g" else "bad"
    return {"text": " ".join(letters), "label": label}


def test_label_words(two_trials: TwoTrials, tmp_path: Path) -> None:
    write_rows(tmp_path / "t", judged)
    task = TextClassification(
        "t", label_words={"good": "yes", "bad": "no"}, template="{text} is :"
    )
    ran = two_trials("llama", task, Prompt(length=2), steps=40)
    assert ran.bench.data.label_names == ("bad", "good")
    for metrics, (predictions, labels) in zip(ran.metrics, ran.found, strict=True):
        assert metrics["accuracy"] == accuracy_score(labels, predictions.argmax(1))
    with ran.trained() as trained, trained.answerer() as answerer:
        ids = torch.tensor([answerer.tokenizer("a b is :").input_ids])
        with torch.no_grad():
            logits = answerer.classifier.base(ids).logits[0, -1]
        words = answerer.tokenizer.convert_tokens_to_ids(["no", "yes"])
        np.testing.assert_allclose(answerer(["a b"])[0], logits[words], atol=1e-4)
        assert answerer.labels(["a b"])[0] in ("good", "bad")
    assert (
        "label_words" in task.to_dict() and "label_words" not in TextClassification("t").to_dict()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"good": "yes", "bad": "yes no"}, "different tokens"),
        ({"good": "yes"}, "a word for each class, got none for 'bad'"),
    ],
)
def test_label_words_must_differ(
    two_trials: TwoTrials, tmp_path: Path, words: dict[str, str], message: str
) -> None:
    write_rows(tmp_path / "t", judged)
    task = TextClassification("t", label_words=words, template="{text} is :")
    with pytest.raises(ValueError, match=message):
        two_trials("llama", task)


def test_an_encoder_is_refused_where_a_decoder_is_needed(
    two_trials: TwoTrials, tmp_path: Path
) -> None:
    write_rows(tmp_path / "t", plain)
    with pytest.raises(ValueError, match="needs a decoder, whose tokens see earlier ones only"):
        two_trials("bert", LanguageModelling("t"))
    write_rows(tmp_path / "g", copied)
    with pytest.raises(ValueError, match="generation needs a decoder"):
        two_trials("bert", TextGeneration("g"))
