"""Domains, structure and fields: wrong definitions fail with rule, value and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from peftnas.spaces import (
    Architecture,
    ByLayer,
    Choice,
    Integer,
    Maybe,
    PerGroup,
    PerLayer,
    Real,
    SearchSpace,
    Subset,
)
from tests.spaces.toy import Box, Low, Soft

WRONG = [
    (lambda: Integer(5, 2), r"low <= high, got low=5, high=2; swap"),
    (lambda: Integer(0, 4, log=True), r"low >= 1 .* got low=0"),
    (lambda: Integer(1, 4, step=2), r"divides high - low, got step=2 for 1..4; change"),
    (lambda: Integer(1, 2.5), r"whole numbers, got high=2.5; use Real"),
    (lambda: Real(1.0, 1.0), r"low < high, got low=1.0, high=1.0; hold the value"),
    (lambda: Real(0.0, 1.0, log=True), r"low > 0, got low=0.0; raise it"),
    (lambda: Real("a", 1.0), r"Real needs numbers, got low='a'; give the smallest"),
    (lambda: Real(0.0, True), r"Real needs numbers, got high=True"),
    (lambda: Choice(), r"at least one option, got none; name"),
    (lambda: Choice(1, 1), r"distinct options, got 1 twice; drop one"),
    (lambda: Subset("a", "a"), r"distinct items, got \('a', 'a'\); drop"),
    (lambda: Subset("a", min_size=2), r"min_size <= 1 \(its items\), got 2"),
    (lambda: Subset("a", "b", min_size=1.0), r"whole number min_size, got 1.0; count the items"),
    (lambda: Subset("a", "b", min_size="1"), r"whole number min_size, got '1'"),
    (lambda: Subset.of_layers(min_size=1.5), r"whole number min_size, got 1.5; count the items"),
    (lambda: Subset(["a", "b"]), r"names or layer numbers, got \['a', 'b'\]; list them"),
    (lambda: Maybe(Maybe(Soft())), r"absent twice, got .*; keep one"),
    (lambda: PerLayer(8), r"needs an Integer.* got 8; a fixed value"),
    (lambda: PerGroup(0, Integer(1, 2)), r"n >= 1 groups, got 0"),
    (lambda: Soft(length=PerLayer(Integer(1, 2))), r"one value for the whole .*; drop the per-l"),
    (lambda: Box(rank=Integer(-1, 2)), r"Box.rank must be a whole number >= 0, .*change its bou"),
    (lambda: Box(rank=Real(1, 2)), r"Box.rank must be a whole number >= 0, got Real"),
    (lambda: Box(scale=float("inf")), r"Box.scale must be a number > 0, got inf"),
    (lambda: Low(targets=Subset("query", "knee")), r"Low.targets must be some of 'query', "),
    (lambda: SearchSpace(), r"at least one item, got none; add a method"),
    (lambda: SearchSpace(Box), r"takes methods, .*; write Box\(\.\.\.\)"),
    (lambda: SearchSpace(8), r"takes methods, .* got 8; drop it"),
    (lambda: SearchSpace(Maybe(Choice(Box(), None))), r"absent twice, .*; drop the None"),
    (lambda: SearchSpace(Box(), max_parameters=0), r"whole number >= 1 .* got 0; leave it out"),
    (lambda: SearchSpace(Box(), max_parameters="2"), r'as "2%", got \'2\''),
    (lambda: SearchSpace(Box(), max_parameters=0.02), r'as "2%", got 0.02'),
    (lambda: SearchSpace(Soft(), gate="unipelt"), r"a method that can carry one, .*; drop it"),
    (
        lambda: SearchSpace(Box(gate=Choice(None, "unipelt")), gate="unipelt"),
        r"drawn once for the whole space, .*; drop one",
    ),
    (lambda: SearchSpace(Box(), gate=Choice(None, "unipeld")), r"Box.gate must be .*'unipeld'"),
    (
        lambda: SearchSpace(Box(rank=PerLayer(Choice(1, PerLayer(Integer(1, 2)))))),
        r"must have one PerLayer, PerGroup or ByGroup, got .* inside another; drop one",
    ),
    (lambda: Architecture(Box(rank=Integer(1, 2))), r"hold values, .*belongs in a SearchSpace"),
    (lambda: Architecture("lora"), r"takes methods, got 'lora'; pass objects"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_a_wrong_definition_says_rule_value_remedy(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_choice_holds_its_options_by_type() -> None:
    choice = Choice(1, True, Integer(5, 6))
    assert 1 in choice and True in choice and 6 in choice
    assert 1.0 not in choice and False not in choice and 7 not in choice
    assert Choice(1) != Choice(True)


def test_groups_are_contiguous_and_the_first_ones_larger() -> None:
    groups = [PerGroup(3, Integer(1, 2)).bind((8,)).group_of(layer) for layer in range(8)]
    assert groups == [0, 0, 0, 1, 1, 1, 2, 2]


def test_replace_checks_what_changed() -> None:
    box = Box(rank=3)
    assert box.replace(rank=[1, 2][0], layers=[0, 1]) == Box(rank=1, layers=(0, 1))
    with pytest.raises(ValueError, match="Box.rank"):
        box.replace(rank=-1)
    with pytest.raises(TypeError):
        box.replace(width=1)


def test_at_gives_the_values_of_one_layer() -> None:
    box = Box(rank=ByLayer({0: 1, 2: 3}), activation="gelu")
    assert box.at(2) == Box(rank=3, activation="gelu")
    with pytest.raises(KeyError, match="no value for layer 1"):
        box.at(1)


def test_lists_among_the_options_are_taken_as_tuples() -> None:
    assert Choice([1, 2], (3,)).options == ((1, 2), (3,))
    assert hash(Choice([1], [2])) == hash(Choice((1,), (2,)))


@pytest.mark.parametrize("domain", [Integer, Real])
def test_log_is_a_flag(domain: Any) -> None:
    with pytest.raises(ValueError, match="needs log=True or log=False, got 'yes'"):
        domain(1, 8, log="yes")
