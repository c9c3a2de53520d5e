"""``docs/methods.md`` says what the code says, and what attaching shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from peftnas.methods import IA3, METHODS, Anatomy, LoRA, Method, Placement, Prefix
from peftnas.methods.anatomies import FAMILIES
from peftnas.methods.base import LinearDelta
from peftnas.methods.testing.facts import TinyBackbone, families, single_changes
from peftnas.methods.testing.tiny import CONFIGS
from peftnas.spaces.domains import Domain
from peftnas.spaces.fields import Whole, held, setting
from peftnas.studies.cli import main
from peftnas.studies.method_docs import described, fields_table

COMMITTED = Path(__file__).parents[2] / "docs/methods.md"


@dataclass(frozen=True)
class LoudPlacement(Placement):
    kind: ClassVar[str] = "loud"

    def count(self) -> int:
        return 1

    def build(self, generator: torch.Generator) -> nn.Module:
        return LoudDelta()


class LoudDelta(LinearDelta):
    """``g * x`` on a square linear, away from 0 at the start."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor, tokens: torch.Tensor | None) -> torch.Tensor:
        return self.g * x

    def weight_delta(self) -> torch.Tensor | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Loud(Method):
    """Adds ``g * x``; see :class:`Loud`.

    Source: example.
    """

    kind: ClassVar[str] = "loud_example"
    formula: ClassVar[str] = "a * b | c"
    source: ClassVar[str] = "example"

    parts: int | Domain[Any] = setting(Whole(1), default=3, help="`a*b` | must divide the width")

    def place(self, anatomy: Anatomy) -> Iterator[LoudPlacement]:
        if anatomy.width % held(self.parts):
            raise ValueError("the width must be a multiple of parts, take other parts")
        yield LoudPlacement("layers[0].attention.query")


def test_committed_text_is_that_of_the_code(capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(["methods", "--markdown"]) == 0
    fresh = capfd.readouterr().out
    assert fresh == COMMITTED.read_text(), "docs/methods.md is stale; run make docs"


def test_every_method_and_family_is_there() -> None:
    text = COMMITTED.read_text()
    for method in METHODS.values():
        assert described(method) in text and fields_table(method).rstrip() in text
    matrix = text.split("## Which method attaches")[1]
    head = matrix.split("| --- |")[0].splitlines()[-1]
    assert [cell for cell in head.strip("| ").split(" | ") if cell] == list(families())
    assert set(families().values()) <= set(CONFIGS)


def test_every_model_type_is_in_the_row_of_its_family() -> None:
    table = COMMITTED.read_text().split("## Families")[1].split("## Which")[0]
    rows = dict(line.strip("| ").split(" | ")[:2] for line in table.splitlines() if "|" in line)
    for family in FAMILIES:
        for model_type in family.model_types:
            assert model_type in re.split(r", | with `.*?`", rows[family.name])
    assert rows["t5_gated"] == "t5 with `is_gated_act=True`"


def test_families_in_which_it_is_otherwise_are_named() -> None:
    text = COMMITTED.read_text()
    assert "merges into the weights: yes, but not on llama, gemma, gemma2, t5" in text
    assert "merges into the weights: yes; no with `gate='unipelt'`\n" in text
    assert "otherwise with" not in text and " families" not in text.split("## The methods")[1]


def test_what_attaching_shows() -> None:
    bert = TinyBackbone("bert")
    lora, gated = bert.try_out(LoRA), bert.try_out(LoRA, gate="unipelt")
    assert lora.identity and lora.merged and not lora.remaining
    assert gated.identity and gated.remaining and not gated.merged
    prefix = bert.try_out(Prefix, mlp=2)
    assert not prefix.identity and prefix.stored != prefix.count
    assert "in_proj" in bert.try_out(LoRA, targets=("in_proj",)).refusal


def test_a_field_that_helps_is_found() -> None:
    mamba = TinyBackbone("mamba")
    assert mamba.attach_somehow(IA3).changed == {"targets": ("in_proj",)}
    assert "takes no keys" in TinyBackbone("deberta").attach_somehow(Prefix).refusal
    found = TinyBackbone("bert").attach_somehow(Loud)
    assert found.changed == {"parts": 1} and not found.identity and found.remaining
    assert {"parts": 2} in list(single_changes(Loud, parts=False))


def test_text_of_a_class_is_safe_in_markdown() -> None:
    assert "see `Loud`." in described(Loud) and "Source" not in described(Loud)
    assert "a \\* b \\| c" in described(Loud)
    assert "`a*b` \\| must divide" in fields_table(Loud)


def test_markdown_is_of_all_methods(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "lora", "--markdown"]) == 2
    assert "leave out KIND" in capfd.readouterr().err
