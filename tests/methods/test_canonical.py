"""Canonical form: one spelling for one network, and nothing that matters is lost."""

from __future__ import annotations

import json
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, LlamaConfig

from peftnas.methods import (
    IA3,
    OFT,
    SSF,
    Adapter,
    Architecture,
    BitFit,
    FullFineTuning,
    LoRA,
    Prefix,
    Prompt,
    PTuning,
    attach,
    count,
    describe,
)
from peftnas.methods.canonical import canonical
from peftnas.spaces.keys import train_key
from peftnas.spaces.structure import ByLayer

SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
BERT = describe(BertConfig(**SIZES))
LLAMA = describe(LlamaConfig(num_key_value_heads=1, **SIZES))

layers = st.none() | st.lists(st.integers(0, 2), unique=True).map(tuple)
sizes = st.integers(0, 3) | st.dictionaries(st.integers(0, 2), st.integers(0, 2), min_size=1).map(
    ByLayer
)
gates = st.sampled_from([None, "unipelt"])
tokens = st.sampled_from(["unmasked", "all"])


def some(*names: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(names), unique=True).map(tuple)


methods = st.one_of(
    st.builds(
        LoRA,
        rank=sizes,
        alpha=st.none() | st.sampled_from([1, 2, 4.0]),
        rslora=st.booleans(),
        targets=some("query", "key", "value", "output", "up", "down"),
        layers=layers,
        gate=gates,
        gate_tokens=tokens,
    ),
    st.builds(
        Adapter,
        site=st.sampled_from(["attention", "ffn", "both"]),
        insertion=st.sampled_from(["serial", "parallel"]),
        placement=st.sampled_from([None, "houlsby", "after_ln"]),
        parallel_input=st.sampled_from(["normed", "residual"]),
        bottleneck=sizes,
        scale=st.sampled_from([1, 1.0, 4, "learned"]),
        layers=layers,
        gate=gates,
        gate_tokens=tokens,
    ),
    st.builds(
        Prefix,
        length=st.integers(0, 2),
        mlp=st.none() | st.just(3),
        layers=layers,
        gate=gates,
        gate_outputs=st.sampled_from([1, 2]),
    ),
    st.builds(Prompt, length=st.integers(0, 2)),
    st.builds(IA3, targets=some("key", "value", "down"), layers=layers),
)
architectures = st.lists(methods, max_size=4).map(lambda chosen: Architecture(*chosen))


@settings(max_examples=150, deadline=None)
@given(architectures, st.sampled_from([BERT, LLAMA]))
def test_idempotent_keeps_count_and_key(architecture, anatomy):
    canonical = anatomy.canonical(architecture)
    assert anatomy.canonical(canonical) == canonical
    assert count(canonical, anatomy) == count(architecture, anatomy)
    assert Architecture.from_json(canonical.to_json()) == canonical


@settings(max_examples=100, deadline=None)
@given(st.lists(methods, max_size=4), st.randoms(), st.sampled_from([BERT, LLAMA]))
def test_order_does_not_matter(chosen, random, anatomy):
    shuffled = list(chosen)
    random.shuffle(shuffled)
    one, two = (anatomy.canonical(Architecture(*order)) for order in (chosen, shuffled))
    assert one.to_json() == two.to_json()
    assert train_key(anatomy.place(one)) == train_key(anatomy.place(two))


@settings(max_examples=150, deadline=None)
@given(architectures, architectures, st.sampled_from([BERT, LLAMA]))
def test_equal_canonical_forms_train_alike(one, two, anatomy):
    forms = [anatomy.canonical(architecture) for architecture in (one, two)]
    keys = [train_key(anatomy.place(form)) for form in forms]
    if forms[0] == forms[1]:
        assert keys[0] == keys[1]


def test_built_counts_of_random_architectures():
    from transformers import BertModel, LlamaModel

    models = (
        BertModel(BertConfig(**SIZES)),
        LlamaModel(LlamaConfig(num_key_value_heads=1, **SIZES)),
    )

    @settings(max_examples=60, deadline=None)
    @given(architectures, st.sampled_from(models))
    def check(architecture, model):
        anatomy = describe(model.config)
        attached = attach(model, architecture)
        try:
            assert attached.count == count(architecture, anatomy)
        finally:
            attached.detach()

    check()


@pytest.mark.parametrize(
    "method",
    [
        LoRA(rank=0, alpha=3, gate="unipelt"),
        LoRA(targets=()),
        LoRA(layers=()),
        LoRA(rank=ByLayer({0: 0, 1: 0})),
        Adapter(bottleneck=0),
        Adapter(layers=()),
        Prefix(length=0, mlp=5),
        Prompt(length=0),
        IA3(targets=()),
        BitFit(targets=()),
    ],
    ids=repr,
)
def test_size_zero_is_absence(method):
    assert BERT.canonical(Architecture(method)) == Architecture()


def test_values_layer_by_layer():
    uniform = LoRA(rank=ByLayer({0: 2, 1: 2, 2: 2}))
    assert BERT.canonical(Architecture(uniform)) == Architecture(LoRA(rank=2))
    partly = LoRA(rank=ByLayer({0: 2, 1: 2}), layers=(1, 2))
    assert BERT.canonical(Architecture(partly)) == Architecture(LoRA(rank=2, layers=(1,)))
    table = LoRA(rank=ByLayer({0: 2, 1: 0, 2: 3}))
    assert BERT.canonical(Architecture(table)) == Architecture(
        LoRA(rank=ByLayer({0: 2, 2: 3}), layers=(0, 2))
    )


def test_inputs_of_parallel_adapters_differ_only_before_a_norm():
    normed, residual = (
        Architecture(Adapter(insertion="parallel", parallel_input=which))
        for which in ("normed", "residual")
    )
    assert BERT.canonical(normed) == BERT.canonical(residual)
    assert LLAMA.canonical(normed) != LLAMA.canonical(residual)


def test_order_of_targets_and_layers():
    method = LoRA(targets=("value", "query"), layers=(2, 0, 1))
    assert BERT.canonical(Architecture(method)) == Architecture(LoRA())


def test_inert_fields_go_back_to_their_defaults():
    method = Adapter(gate_tokens="all")
    assert BERT.canonical(Architecture(method)) == Architecture(Adapter())


def test_layers_that_do_not_exist():
    with pytest.raises(ValueError, match=r"layers in 0..2"):
        BERT.canonical(Architecture(IA3(layers=(0, 3))))


def test_full_fine_tuning_is_named_once():
    with pytest.raises(ValueError, match="got it twice"):
        count(Architecture(FullFineTuning(), FullFineTuning()), BERT)


@pytest.mark.parametrize(
    "methods",
    [
        (OFT(block=2), OFT(block=8)),
        (Prompt(length=2), PTuning(length=3, hidden=4)),
        (SSF(targets=("query",)), SSF(targets=("query",), start="identity")),
        (LoRA(rank=2), LoRA(rank=3), OFT(block=4), IA3()),
    ],
    ids=["rotations", "prompts", "shifts", "others"],
)
def test_one_canonical_form_is_one_function(methods, build_backbone, batch):
    """Each module holds the same values, whatever order the methods are written in."""
    model = build_backbone("bert")
    found, forms = [], set()
    for order in (methods, methods[::-1]):
        attached = attach(model, Architecture(*order), seed=3)
        forms.add(canonical(attached.architecture, attached.anatomy))
        for placement, module in attached.placed:
            text = json.dumps(placement.identity(), sort_keys=True)
            noise = torch.Generator().manual_seed(zlib.crc32(text.encode()))
            for parameter in module.parameters():
                parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=noise))
        found.append(model(**batch).last_hidden_state)
        attached.detach()
    assert len(forms) == 1
    assert torch.equal(*found)
