"""What trains the same has one key, and what looks alike but is not the same has two."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    VPT,
    AdaLoRA,
    Adapter,
    Architecture,
    BitFit,
    CoDA,
    DoRA,
    GatedLoRAPrefix,
    LinearAdapter,
    LlamaAdapter,
    LNTuning,
    LoHa,
    LoRA,
    Prefix,
    Prompt,
    ReFT,
    SparseAdapter,
    VeRA,
    attach,
)
from peftnas.methods.anatomy import Anatomy
from peftnas.methods.testing.tiny import inputs_of, output
from peftnas.spaces.keys import function_key, train_key
from tests.methods.conftest import assert_same
from tests.methods.rules.of_training import RULES
from tests.methods.rules.pairs import ROUNDED, Side, anatomy_of, backbone, disturb

CASES = [(rule, name) for rule, one in RULES.items() for name in one.backbones]


@pytest.mark.parametrize(("rule", "name"), CASES, ids=lambda value: value.replace(" ", "-"))
def test_equal_training_is_one_key_and_one_function(rule, name):
    anatomy, model = anatomy_of(name), backbone(name)
    inputs = {
        key: value.double() if value.is_floating_point() else value
        for key, value in inputs_of(model).items()
    }

    @settings(
        max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(RULES[rule].pairs(anatomy), st.integers(0, 99))
    def check(pair, seed):
        found, sides, keys = [], [], set()
        for methods in (pair.one, pair.other):
            architecture = Architecture(*methods)
            keys.add(train_key(anatomy.place(anatomy.canonical(architecture))))
            attached = attach(model, architecture)
            try:
                attached.double().eval()
                sides.append(Side(attached.placed, anatomy, attached.base))
                with torch.no_grad():
                    disturb(attached, seed)
                    if len(sides) == 2:
                        pair.carry(*sides)
                    found.append(output(model, inputs))
            finally:
                attached.detach()
        assert len(keys) == 1
        exact = name not in ROUNDED and "order" not in rule
        assert_same(found[1], found[0], 1e-9 if exact else 1e-4)

    check()


def key(anatomy: Anatomy, *methods) -> str:
    return function_key(anatomy.place(anatomy.canonical(Architecture(*methods))), anatomy)


Q, K, V = (IA3(targets=(name,)) for name in ("query", "key", "value"))
FFN = Adapter(bottleneck=4, placement="houlsby")
GATED = {"gate": "unipelt"}
PREFIX, CORE = Prefix(length=1), LlamaAdapter(length=1)
LINEAR = {"activation": "identity", "bottleneck": 2}
AFTER = LinearAdapter(insertion="after", targets=("down",), bias=True, **LINEAR)
APART = {
    "a prefix whose gate may close is not absence": ("bert", (Prefix(length=2, **GATED),), ()),
    "a gate is part of a prefix": ("bert", (Prefix(length=2, **GATED),), (Prefix(length=2),)),
    "a prefix passes no layers": ("bert", (Prefix(length=2),), (Prompt(length=2),)),
    "prompts in each layer": ("bert", (VPT(length=2),), (VPT(length=2, deep=False),)),
    "a prompt without positions": ("bert", (Prompt(entry="hidden"),), (Prompt(),)),
    "scales of keys before a rotation": ("llama", (Q, K), (Q,)),
    "scales of keys before a norm": ("qwen3", (Q, K), (Q,)),
    "scales of keys before a norm, alone": ("qwen3", (K,), ()),
    "scales of keys of t5": ("t5", (Q, K), (Q,)),
    "scales of keys beside a prefix": ("bert", (PREFIX, Q, K), (PREFIX, Q)),
    "scales of keys beside a LLaMA-Adapter": ("bert", (CORE, Q, K), (CORE, Q)),
    "scales of values": ("bert", (V,), (Q,)),
    "scales of keys in some layers": ("bert", (IA3(targets=("key",), layers=(0,)),), (K,)),
    "biases of keys beside a prefix": ("bert", (PREFIX, BitFit(targets=("key",))), (PREFIX,)),
    "biases of keys before a rotation": ("qwen2", (BitFit(targets=("key",)),), ()),
    "serial and parallel": ("bert", (FFN,), (FFN.replace(insertion="parallel", placement=None),)),
    "Pfeiffer and Houlsby at the FFN": ("bert", (FFN,), (FFN.replace(placement="pfeiffer"),)),
    "Pfeiffer before a norm": ("gpt2", (FFN,), (FFN.replace(placement="pfeiffer"),)),
    "after a norm": (
        "bert",
        (FFN.replace(placement="after_ln"),),
        (FFN.replace(placement="pfeiffer"),),
    ),
    "inputs before a norm": (
        "gpt2",
        (Adapter(insertion="parallel"),),
        (Adapter(insertion="parallel", parallel_input="residual"),),
    ),
    "nonlinearities": ("bert", (FFN,), (FFN.replace(activation="gelu"),)),
    "two nonlinearities do not add up": (
        "bert",
        (FFN, FFN.replace(activation="gelu")),
        (FFN.replace(bottleneck=8),),
    ),
    "widths one after another": ("bert", (FFN.replace(bottleneck=(4, 3)),), (FFN,)),
    "an adapter without biases": ("bert", (FFN.replace(bias=False),), (FFN,)),
    "gated adapters": ("bert", (FFN.replace(**GATED),) * 2, (FFN.replace(bottleneck=8, **GATED),)),
    "a sparse adapter": ("bert", (SparseAdapter(bottleneck=4, sparsity=0.5),), (FFN,)),
    "skipped tokens": (
        "bert",
        (CoDA(bottleneck=4, token_keep_ratio=0.5),),
        (FFN.replace(insertion="parallel", placement=None),),
    ),
    "LoRA of fused linears apart": (
        "gpt2",
        (LoRA(rank=2, targets=("query", "key", "value")),),
        (LoRA(rank=6, targets=("query",)),),
    ),
    "ranks": ("bert", (LoRA(rank=2), LoRA(rank=3)), (LoRA(rank=6),)),
    "a gate of LoRA": ("bert", (LoRA(rank=2, **GATED),), (LoRA(rank=2),)),
    "a central gate": (
        "bert",
        (GatedLoRAPrefix(rank=2, length=2),),
        (LoRA(rank=2), Prefix(length=2)),
    ),
    "ranks that a budget shares out": (
        "bert",
        (AdaLoRA(rank=6, target_rank=4),),
        (LoRA(rank=4),),
    ),
    "VeRA of other ranks": ("bert", (VeRA(rank=4),), (VeRA(rank=8),)),
    "VeRA of other matrices": ("bert", (VeRA(rank=4),), (VeRA(rank=4, projection_seed=1),)),
    "a product of two deltas": ("bert", (LoHa(rank=4),), (LoRA(rank=4),)),
    "a direction": ("bert", (DoRA(rank=4),), (LoRA(rank=4),)),
    "blocks of a rotation": ("bert", (OFT(block=4),), (OFT(block=8),)),
    "a shift of a norm without bias": (
        "llama",
        (SSF(targets=("ffn_norm",)),),
        (LNTuning(targets=("ffn_norm",)),),
    ),
    "a bias tied to a delta": (
        "bert",
        (LinearAdapter(insertion="after", targets=("query",), **LINEAR),),
        (LoRA(rank=2, targets=("query",)),),
    ),
    "behind a linear with fewer outputs": (
        "bert",
        (AFTER,),
        (LoRA(rank=2, targets=("down",)), BitFit(targets=("down",))),
    ),
    "in front of a linear with more outputs": (
        "bert",
        (LinearAdapter(insertion="before", targets=("up",), **LINEAR),),
        (LoRA(rank=2, targets=("up",)),),
    ),
    "behind a sublayer that another adapter reads": (
        "bert",
        (FFN.replace(**LINEAR), FFN.replace(placement="pfeiffer")),
        (AFTER, FFN.replace(placement="pfeiffer")),
    ),
    "behind a norm of what a sublayer gives": ("gemma2", (FFN.replace(**LINEAR),), (AFTER,)),
    "edited tokens": ("bert", (ReFT(last=2),), (ReFT(last=1),)),
    "tied edits": ("bert", (ReFT(tied=True),), (ReFT(),)),
    "layers": ("bert", (LoRA(layers=(0, 1)),), (LoRA(layers=(1, 2)),)),
}


@pytest.mark.parametrize(("name", "one", "other"), APART.values(), ids=list(APART))
def test_near_misses_stay_two(name, one, other):
    anatomy = anatomy_of(name)
    assert key(anatomy, *one) != key(anatomy, *other)


def test_scales_of_grouped_keys():
    """A scale of queries does all that one of keys does where these have fewer heads."""
    grouped = dataclasses.replace(anatomy_of("llama"), positions="learned")
    assert key(grouped, Q, K) == key(grouped, Q)
    assert key(grouped, K) != key(grouped, Q)
    assert key(grouped, K, K) == key(grouped, K)
    normed = dataclasses.replace(anatomy_of("qwen3"), positions="learned")
    assert key(normed, Q, K) != key(normed, Q)
    bias = BitFit(targets=("key",), add=True)
    assert key(grouped, bias) == key(grouped) and key(normed, bias) != key(normed)
