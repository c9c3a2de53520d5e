"""Texts that are made of columns: what they become, and which are refused before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftnas.studies.export import export
from peftnas.studies.tasks import DataError, TextClassification, TextGeneration
from tests.studies.tasks.conftest import Ran, some_letters, write_rows

TwoTrials = Callable[..., Ran]
WORDS = {"0": "no", "1": "yes"}


def by_words(template: str, text_pair: str | None = None) -> TextClassification:
    return TextClassification("t", text_pair=text_pair, label_words=WORDS, template=template)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: by_words("is it good?"), r"must hold \{text\} .*got 'is it good\?'"),
        (lambda: by_words("{sentence} is"), r"must hold \{text\} .*got '\{sentence\} is'"),
        (
            lambda: by_words("{text} is", "b"),
            r"must hold \{text\} and \{pair\} .*got '\{text\} is",
        ),
        (lambda: by_words("{text} {pair}"), r"must hold \{text\} and nothing else"),
        (lambda: by_words("{text"), r"in braces, got '\{text' \(expected '\}'"),
        (lambda: TextClassification("t", template="{text}:"), "template needs label_words"),
        (lambda: TextClassification("t", text="{a} {b"), r"in braces, got '\{a\} \{b'"),
        (lambda: TextClassification("t", text="{a} {}"), r"in braces, got '\{a\} \{\}'"),
        (lambda: TextGeneration("t", "{input:.2f}\n"), r"in braces, got '\{input:.2f\}\\n'"),
    ],
)
def test_wrong_templates_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        make()


def test_columns_of_any_name(tmp_path: Path) -> None:
    row: dict[str, Any] = {"a.b": "x", "c d": 3, "e": None, "target": "y"}
    write_rows(tmp_path / "t", lambda random: row | {"n": some_letters(random)[0]})
    data = TextGeneration("t", "{{{a.b}}}: {c d}{e}\n").open(tmp_path, tmp_path, 0)
    assert data.train.inputs[0] == "{x}: 3\n"  # type: ignore[attr-defined]


def test_an_export_of_a_generator_says_what_it_reads(
    two_trials: TwoTrials, tmp_path: Path
) -> None:
    write_rows(tmp_path / "t", lambda random: {"input": some_letters(random)[0], "target": "a"})
    ran = two_trials("llama", TextGeneration("t", "{input} =\n", max_new_tokens=4))
    with ran.trained() as trained:
        lines = export(trained, "two", tmp_path / "e")
    assert r"texts = model(['{input} =\n'])" in lines
    form = json.loads((tmp_path / "e/export.json").read_text())["form"]
    assert form == {"kind": "generation", "max_new_tokens": 4, "reads": "{input} =\n"}
