"""Layers that are named but have nothing: refused alone, absent in a search space."""

from __future__ import annotations

import pytest

from peftnas.methods import (
    IA3,
    OFT,
    VPT,
    Adapter,
    Architecture,
    BitFit,
    CrossAttentionTuning,
    LNTuning,
    LoRA,
    Prefix,
    attach,
    count,
    describe,
)
from peftnas.spaces import SearchSpace
from peftnas.spaces.domains import Choice, Subset
from peftnas.spaces.structure import ByLayer

ENCODER = (0, 1)
NOWHERE = [
    ("bart", LoRA(targets=("cross_query",), layers=(0,))),
    ("bart", IA3(targets=("cross_key",), layers=(0,))),
    ("bart", OFT(targets=("cross_query",), layers=ENCODER)),
    ("bart", BitFit(targets=("cross_query",), layers=(0,))),
    ("bart", Adapter(site="cross_attention", layers=ENCODER)),
    ("bart", Prefix(sublayers=("cross_attention",), layers=(0,))),
    ("bart", CrossAttentionTuning(layers=(0,))),
    ("bart", LNTuning(targets=("cross_attention_norm",), layers=(0,))),
    ("clip", VPT(layers=(0,))),
    ("t5", VPT(layers=(2, 3))),
]


@pytest.mark.parametrize(("name", "method"), NOWHERE)
def test_refused(name, method, build_backbone):
    model = build_backbone(name)
    for ask in (count, lambda architecture, anatomy: attach(model, architecture)):
        with pytest.raises(ValueError, match="got layers .* nothing of it; name other layers"):
            ask(Architecture(method), describe(model))


@pytest.mark.parametrize(
    "method",
    [
        LoRA(rank=0, layers=(0,)),
        LoRA(layers=()),
        LoRA(targets=(), layers=(0,)),
        LoRA(rank=ByLayer({0: 0, 1: 2}), layers=(0,)),
        Adapter(bottleneck=0, layers=(1,)),
    ],
)
def test_absent_is_not_refused(method, build_backbone):
    assert attach(build_backbone("bart"), Architecture(method)).count == 0


@pytest.mark.parametrize(
    "method",
    [
        LoRA(targets=Subset("query", "cross_query"), layers=Subset.of_layers()),
        Adapter(site=Choice("ffn", "cross_attention"), layers=Subset.of_layers()),
    ],
)
def test_absent_where_a_space_draws_it(method, build_backbone):
    space = SearchSpace(method).bind(describe(build_backbone("bart")))
    drawn = [space.sample(seed) for seed in range(60)]
    assert any(not architecture.methods for architecture in drawn)
    for architecture in drawn:
        assert (count(architecture, space.anatomy) == 0) is (not architecture.methods)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (LoRA(layers=(1,)), "lora rank 8 on query, value in layer 1"),
        (LoRA(layers=(0, 2)), "lora rank 8 on query, value in layers 0,2"),
        (LoRA(layers=(0, 1, 2)), "lora rank 8 on query, value in layers 0-2"),
        (
            LoRA(rank=ByLayer({0: 4, 1: 4, 2: 8})),
            "lora rank 4 (layers 0-1), 8 (layer 2) on query, value",
        ),
        (Prefix(layers=(2,)), "prefix length 10 in layer 2"),
        (IA3(targets=("key",), layers=(0,)), "ia3 on key in layer 0"),
    ],
)
def test_one_layer_is_named_as_one(method, said):
    assert method.words() == said
