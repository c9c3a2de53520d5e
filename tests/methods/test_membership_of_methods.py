"""Spaces of real methods: what is drawn is inside, also where a method comes to nothing."""

from __future__ import annotations

import random

import pytest
from transformers import BertConfig, T5Config

from peftnas.methods import (
    Adapter,
    Architecture,
    BitFit,
    FullFineTuning,
    LoRA,
    Prefix,
    Prompt,
    describe,
)
from peftnas.spaces import Choice, Integer, Maybe, Real, SearchSpace, Subset, keys
from peftnas.spaces.choosers import at_random

BERT = describe(
    BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=40,
    )
)
MANY = Integer(1, 1024)  # the space is too large to look at every point

VANISHING = {
    "idle key bias": (BitFit(targets=Subset("query", "key")), LoRA(rank=MANY)),
    "idle key bias or an adapter": (
        Choice(BitFit(targets=Subset("query", "key")), Adapter(bottleneck=MANY)),
        LoRA(rank=Integer(1, 64)),
    ),
    "idle key bias unless a prefix is there": (
        BitFit(targets=Subset("query", "key", "value"), layers=Subset.of_layers()),
        Maybe(Prefix(length=Integer(1, 16))),
        Maybe(LoRA(rank=Integer(1, 64))),
    ),
    "key biases beside a prefix in some layers": (
        BitFit(targets=Subset("query", "key", "value"), layers=Subset.of_layers()),
        Prefix(length=Integer(1, 16), layers=Subset.of_layers()),
        LoRA(rank=Integer(1, 64)),
    ),
    "no layers": (
        BitFit(targets=Subset("query", "embeddings_norm"), layers=Subset.of_layers(min_size=0)),
        LoRA(rank=Integer(1, 256)),
    ),
}


@pytest.mark.parametrize("items", VANISHING.values(), ids=VANISHING)
def test_a_required_method_may_come_to_nothing(items):
    bound = SearchSpace(*items).bind(BERT)
    assert bound.raw_size().low > 2000
    for seed in range(60):
        sample = bound.sample(seed)
        assert bound.why_not(sample) is None
        again = bound.decode(bound.encode(sample)).architecture
        assert bound.train_key(again) == bound.train_key(sample)


def test_rank_0_is_outside_of_a_space_without_it():
    bound = SearchSpace(Maybe(LoRA(rank=Integer(1, 8))), Adapter(bottleneck=Integer(1, 4)))
    why = bound.bind(BERT).why_not(Architecture(LoRA(rank=0), Adapter(bottleneck=9)))
    assert why is not None and "bottleneck" in why


def test_idle_key_biases_count_layer_by_layer():
    prefix = Prefix(length=1, layers=(1,))
    whole = Architecture(BitFit(targets=("key",)), prefix)
    split = Architecture(*(BitFit(targets=("key",), layers=(i,)) for i in range(3)), prefix)
    placed = [BERT.place(BERT.canonical(one)) for one in (whole, split)]
    assert keys.train_key(placed[0]) == keys.train_key(placed[1])
    assert [sum(part.count() for part in parts) for parts in placed] == [16 + 32, 16 + 32]
    bound = SearchSpace(
        Maybe(BitFit(targets=("key",), layers=Subset.of_layers())),
        Prefix(length=1, layers=Subset.of_layers()),
    ).bind(BERT)
    assert bound.size() == sum(2**n for n in (1, 1, 1, 2, 2, 2, 3))


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        (
            (Maybe(Prompt(entry=Choice("hidden", "word_embeddings"))), Prompt(length=2)),
            "must share their entry, got hidden, word_embeddings",
        ),
        ((Choice(FullFineTuning(), LoRA()), Maybe(FullFineTuning())), "got it twice"),
        ((Choice(None, Maybe(LoRA())),), "says absent twice"),
        ((Choice(None),), "needs a method"),
    ],
)
def test_what_cannot_stand_together_is_refused_at_construction(items, reason):
    with pytest.raises(ValueError, match=reason):
        SearchSpace(*items)


@pytest.mark.parametrize("scale", [Real(0.1, 10, log=True), Real(0.1, 0.7), Real(0.5, 4)])
def test_a_real_comes_back_from_its_vector(scale):
    bound = SearchSpace(Adapter(bottleneck=2, scale=scale)).bind(BERT)
    choose = at_random(random.Random(0))
    for _ in range(200):
        point = bound.draw(choose)
        assert bound.decode(bound.encode(point)) == point


def test_a_field_that_holds_its_usual_value_is_no_part_of_the_key():
    prompt, prefix = BERT.place(Architecture(Prompt(length=1), Prefix(length=1, layers=(0,))))
    assert "stack" not in prompt.identity() and "sublayer" not in prefix.identity()
    t5 = describe(T5Config(d_model=16, d_kv=4, d_ff=24, num_layers=1, num_heads=4))
    everywhere = t5.place(Architecture(Prefix(sublayers=("attention", "cross_attention"))))
    assert [part.identity().get("sublayer") for part in everywhere] == [
        None,
        None,
        "cross_attention",
    ]


def function_key(*methods):
    return keys.function_key(BERT.place(BERT.canonical(Architecture(*methods))), BERT)


def test_two_modules_that_are_one_larger_one_reach_the_same_functions():
    def parallel(bottleneck):
        return Adapter(insertion="parallel", bottleneck=bottleneck)

    bias = BitFit(targets=("query",))
    assert function_key(LoRA(rank=2), LoRA(rank=3)) == function_key(LoRA(rank=5))
    assert function_key(LoRA(rank=10), LoRA(rank=10)) == function_key(LoRA(rank=16))
    assert function_key(Prefix(length=2), Prefix(length=3)) == function_key(Prefix(length=5))
    assert function_key(parallel(2), parallel(3)) == function_key(parallel(5))
    assert function_key(bias, bias) == function_key(bias)
    assert function_key(LoRA(rank=2), LoRA(rank=3)) != function_key(LoRA(rank=6))
    gated = [LoRA(rank=rank, gate="unipelt") for rank in (2, 3, 5)]
    assert function_key(gated[0], gated[1]) != function_key(gated[2])
    twice = Architecture(LoRA(rank=2), LoRA(rank=3))
    assert keys.train_key(BERT.place(twice)) != keys.train_key(
        BERT.place(Architecture(LoRA(rank=5)))
    )
