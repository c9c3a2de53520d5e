"""The operators of a real space, with its methods, gate and budget, on a small BERT."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig

from peftnas.methods import describe
from peftnas.studies.quickstart import space
from tests.methods.conftest import SIZES

BOUND = space.bind(describe(BertConfig(**SIZES)))
SEEDS = st.integers(0, 2**32)


@settings(deadline=None, max_examples=40)
@given(SEEDS, SEEDS)
def test_operators_stay_inside(seed: int, other: int) -> None:
    a, b = BOUND.sample(seed), BOUND.sample(other)
    near = BOUND.neighbours(a)
    children = [BOUND.mutate(a, seed), BOUND.mutate(a, seed, 0.2), BOUND.crossover(a, b, seed)]
    for one in [*near, *children]:
        assert BOUND.canonical(one) == one
        assert BOUND.contains(one), BOUND.why_not(one)
        assert (BOUND.distance(a, one) == 0) == (BOUND.train_key(a) == BOUND.train_key(one))
    keys = {BOUND.train_key(one) for one in near}
    assert len(keys) == len(near)
    assert BOUND.train_key(a) not in {*keys, *map(BOUND.train_key, children[:2])}
    assert BOUND.crossover(a, a, seed) == a


@settings(deadline=None, max_examples=40)
@given(SEEDS)
def test_the_distance_is_a_metric(seed: int) -> None:
    rng = random.Random(seed)
    a, b, c = (BOUND.sample(rng.randrange(2**32)) for _ in range(3))
    assert BOUND.distance(a, b) == BOUND.distance(b, a) <= 1
    assert BOUND.distance(a, b) <= BOUND.distance(a, c) + BOUND.distance(c, b) + 1e-12
    assert (BOUND.distance(a, b) == 0) == (BOUND.train_key(a) == BOUND.train_key(b))
