"""Spaces of the real methods: what is drawn is found again, whatever canonical form made of it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, LlamaConfig

from peftnas.methods import Adapter, Architecture, BitFit, LoRA, Prefix, describe
from peftnas.spaces import (
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
from peftnas.spaces.enumerate import walks
from tests.methods.conftest import GROUPED, SIZES

BERT = describe(BertConfig(**SIZES))
LLAMA = describe(LlamaConfig(**GROUPED))

# each has so many points that nothing but inversion can find one
LARGE = {
    "whole alpha": SearchSpace(LoRA(rank=Integer(1, 40), alpha=Integer(1, 100))),
    "real alpha": SearchSpace(LoRA(rank=Integer(1, 64), alpha=Real(1.0, 32.0), targets=("up",))),
    "rslora": SearchSpace(
        LoRA(rank=Integer(1, 40), alpha=Integer(1, 80), rslora=Choice(False, True))
    ),
    "rslora, real alpha": SearchSpace(
        Maybe(LoRA(rank=Integer(1, 64), alpha=Real(1.0, 32.0), rslora=Choice(False, True))),
        gate=Choice(None, "unipelt"),
    ),
    "a choice of per-layer draws": SearchSpace(
        LoRA(
            rank=Choice(PerLayer(Integer(0, 20)), 4, PerGroup(2, Integer(0, 9))),
            layers=Choice(None, (0, 2), Subset.of_layers()),
        )
    ),
    "per-layer draws of an adapter": SearchSpace(
        Maybe(
            Adapter(
                bottleneck=Choice(PerLayer(Choice(0, 2, 8)), 16),
                activation=Choice("relu", PerLayer(Choice("relu", "gelu", "tanh"))),
                scale=Choice(1.0, 2, "learned", Real(0.5, 4.0)),
                layers=Subset.of_layers(min_size=2),
            )
        ),
        max_parameters="20%",
    ),
}

# only bert's biases have such sites
IDLE_LAYERS = {
    "layers that change nothing": SearchSpace(
        BitFit(targets=("embeddings_norm",), layers=Choice((), (0,))),
        Maybe(LoRA(rank=PerLayer(Integer(1, 8)))),
        Maybe(Prefix(length=Integer(1, 64))),
    ),
    "layers that never draw none, and change nothing": SearchSpace(
        BitFit(targets=("embeddings_norm",), layers=Subset.of_layers(min_size=2)),
        Maybe(LoRA(rank=Integer(1, 64), alpha=Integer(1, 64))),
    ),
    "layers that change nothing where they are none": SearchSpace(
        BitFit(targets=("query", "embeddings_norm"), layers=Subset.of_layers(min_size=0)),
        Maybe(LoRA(rank=Integer(1, 64), alpha=Integer(1, 64))),
    ),
    "sites in no layer": SearchSpace(
        BitFit(
            targets=Subset("query", "embeddings_norm", min_size=1),
            layers=Choice((), (1,), Subset.of_layers(min_size=1)),
        ),
        Maybe(LoRA(rank=Integer(1, 64), alpha=Integer(1, 64))),
    ),
}


@pytest.mark.parametrize("anatomy", [BERT, LLAMA], ids=["bert", "llama"])
@pytest.mark.parametrize("name", LARGE)
def test_samples_of_large_spaces_are_inside(name, anatomy):
    bound = LARGE[name].bind(anatomy)
    for seed in range(40):
        architecture = bound.sample(seed)
        assert bound.why_not(architecture) is None, architecture
        again = bound.decode(bound.encode(architecture)).architecture
        assert bound.train_key(again) == bound.train_key(architecture)


@pytest.mark.parametrize("name", IDLE_LAYERS)
def test_layers_that_change_nothing_deny_no_draw(name):
    bound = IDLE_LAYERS[name].bind(BERT)
    for seed in range(100):
        assert bound.why_not(bound.sample(seed)) is None, bound.sample(seed)
    for architecture in bound.uniform(100, seed=0):
        assert bound.why_not(architecture) is None, architecture


@given(st.integers(1, 300), st.none() | st.floats(1e-3, 1e4) | st.integers(1, 300), st.booleans())
def test_canonical_form_keeps_the_scale_to_the_last_bit(rank, alpha, rslora):
    given = LoRA(rank=rank, alpha=alpha, rslora=rslora)
    divisor = math.sqrt(rank) if rslora else rank
    normal = BERT.canonical(Architecture(given))
    assert {part.scale for part in BERT.place(normal)} == {
        (rank if alpha is None else alpha) / divisor
    }
    assert BERT.canonical(normal) == normal


def test_canonical_form_keeps_a_plain_alpha():
    for rank in range(1, 65):
        for alpha in range(1, 65):
            (normal,) = BERT.canonical(Architecture(LoRA(rank=rank, alpha=alpha))).methods
            assert normal.alpha == (None if alpha == rank else alpha)


def test_dimensions_are_those_that_some_walk_asks():
    space = SearchSpace(
        Maybe(LoRA(rank=PerLayer(Integer(0, 1)), layers=(0, 2))),
        Adapter(
            insertion="serial",
            parallel_input=Choice("normed", "residual"),
            gate_tokens=Choice("all", "unmasked"),
            bottleneck=PerGroup(3, Choice(1, 2)),
            layers=(1,),
        ),
        Prefix(gate_outputs=Choice(1, 2)),
        gate=Choice(None, "unipelt"),
    )
    for searched in (space, SearchSpace(*space.items)):
        bound = searched.bind(BERT)
        asked = {path for point in walks(bound.draw) for path in point.values}
        assert {dimension.path for dimension in bound.dimensions()} == asked


def test_json_of_what_is_drawn_is_exact():
    for space in LARGE.values():
        bound = space.bind(LLAMA)
        for seed in range(10):
            architecture = bound.sample(seed)
            text = json.dumps(architecture.to_dict(), allow_nan=False)
            assert Architecture.from_dict(json.loads(text)) == architecture


def test_a_choice_of_per_layer_draws_holds_zeros_too():
    bound = LARGE["a choice of per-layer draws"].bind(BERT)
    for architecture in (
        Architecture(),
        Architecture(LoRA(rank=ByLayer({0: 3, 1: 0, 2: 20}))),
        Architecture(LoRA(rank=20, layers=(2,))),
    ):
        assert bound.why_not(architecture) is None, architecture
    assert not bound.contains(Architecture(LoRA(rank=ByLayer({0: 30, 1: 0, 2: 20}))))
