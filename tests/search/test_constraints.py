"""Constraints in words: units, by how much they are broken, what is refused."""

from __future__ import annotations

import pytest

from peftnas.search.constraints import parse_constraint
from peftnas.search.errors import UsageError


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        ("train_memory_bytes <= 8GB", "train_memory_bytes", 8e9),
        ("train_memory_bytes <= 1.5 GiB", "train_memory_bytes", 1.5 * 2**30),
        ("train_memory_bytes <= 1TB", "train_memory_bytes", 1e12),
        ("train_step_s <= 50ms", "train_step_s", 0.05),
        ("train_step_s <= 2", "train_step_s", 2.0),
        ("inference_overhead <= 5%", "inference_overhead", 0.05),
        ("inference_overhead <= 0.05", "inference_overhead", 0.05),
        ("decode_overhead <= 0", "decode_overhead", 0.0),
        ("stored_bytes <= 1MB", "stored_bytes", 1e6),
        ("stored_bytes <= 1,500,000", "stored_bytes", 1.5e6),
        ("trainable_parameters <= 10_000", "trainable_parameters", 1e4),
        ("trainable_parameters <= 1e4", "trainable_parameters", 1e4),
        ("train_step_s <= .5s", "train_step_s", 0.5),
        ("train_step_s <= 5 \u00b5s", "train_step_s", 5e-6),
        ("train_step_s <= 5 \u03bcs", "train_step_s", 5e-6),
    ],
)
def test_units(text: str, name: str, bound: float) -> None:
    constraint = parse_constraint(text)
    assert constraint.name == name
    assert constraint.bound == pytest.approx(bound)
    assert constraint.broken({name: constraint.bound}) is None
    assert text in str(constraint.broken({name: constraint.bound + 1}))


def test_what_a_broken_one_says_has_units() -> None:
    memory = parse_constraint("train_memory_bytes <= 8GB")
    assert memory.broken({"train_memory_bytes": 9.14e9}, "is predicted to be") == (
        "train_memory_bytes is predicted to be 9.14 GB, constraint: train_memory_bytes <= 8GB"
    )
    step = parse_constraint("train_step_s <= 50ms")
    assert "train_step_s is 61.2 ms" in str(step.broken({"train_step_s": 0.0612}))
    overhead = parse_constraint("inference_overhead <= 5%")
    assert "inference_overhead is 31.5 %" in str(overhead.broken({"inference_overhead": 0.315}))


def test_which_are_known_before_training() -> None:
    kinds = {
        text: (known.measured, known.predicted, known.wants_merging)
        for text in (
            "stored_bytes <= 1MB",
            "train_memory_bytes <= 1GB",
            "train_memory_bytes >= 1GB",
            "train_step_s <= 1s",
            "inference_overhead <= 5%",
            "inference_overhead <= 0%",
        )
        if (known := parse_constraint(text))
    }
    assert list(kinds.values()) == [
        (False, False, False),
        (True, True, False),
        (True, False, False),
        (True, False, False),
        (True, False, False),
        (True, False, True),
    ]


def test_a_violation_is_a_part_of_the_bound() -> None:
    step = parse_constraint("train_step_s <= 50ms")
    assert step.violation(0.075) == pytest.approx(0.5)
    assert step.violation(0.05) == 0.0 > step.violation(0.04)
    assert parse_constraint("train_step_s >= 10ms").violation(0.005) == pytest.approx(0.5)
    assert parse_constraint("inference_overhead <= 0").violation(0.2) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train_memory_bytes <= 8 parsecs", "unit must be one of B, kB, .*got 'parsecs'"),
        ("train_step_s <= 50 MB", "unit must be one of s, ms, us, none, got 'MB'"),
        ("inference_overhead <= 5ms", "unit must be one of %, none, got 'ms'"),
        ("train_memory <= 8GB", "did you mean 'train_memory_bytes'"),
        ("accuracy >= 0.9", "NAME one of trainable_parameters"),
        ("train_step_s < 1s", "sign must be <= or >=, got '<'; write train_step_s <= 1s"),
        ("train_step_s > 1s", "got '>'; write train_step_s >= 1s"),
        ("8GB >= train_memory_bytes", "NAME one of .*; put train_memory_bytes first"),
        ("train_memory_bytes <= 8,5GB", "a point before decimals, got '8,5GB'; .* 8.5GB"),
        ("train_step_s <= 0,5s", "a point before decimals, got '0,5s'; .* 0.5s"),
        ("train_step_s <= 0,500s", "a point before decimals, got '0,500s'"),
        ("train_memory_bytes <= 1,5,7GB", "finite number from 0 on, .*got '1,5,7GB'"),
        ("trainable_parameters <= 1__0", "finite number from 0 on, .*got '1__0'; .* 10k"),
        ("trainable_parameters <= 1_", "finite number from 0 on, .*got '1_'"),
        ("train_memory_bytes <= 1e400", "finite number from 0 on, .*got '1e400'; .* 8GB"),
        ("train_memory_bytes <= 1e308TB", "finite number from 0 on, .*got '1e308TB'"),
        ("train_step_s <= -1", "finite number from 0 on, .*got '-1'; .* 50ms"),
        ("train_step_s <= nan", "finite number from 0 on, .*got 'nan'"),
        ("train_step_s <=", "finite number from 0 on, .*got ''"),
    ],
)
def test_wrong_ones_say_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_constraint(text)
