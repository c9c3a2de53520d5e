"""Prefix lengths that differ by layer: what is placed, what it computes, how many there are."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from peftnas.methods import Architecture, BitFit, Prefix, attach, count, describe
from peftnas.methods.canonical import canonical
from peftnas.spaces import ByLayer, Choice, Integer, PerLayer, SearchSpace, Subset
from peftnas.spaces.enumerate import walks
from peftnas.spaces.sizes.census import Census
from peftnas.spaces.sizes.counting import Listing

LENGTHS = ByLayer({0: 3, 1: 0, 2: 1})


def test_equals_one_prefix_a_length(build_backbone, batch, disturb):
    model = build_backbone("bert")
    attached = attach(model, Architecture(Prefix(length=LENGTHS)))
    disturb(attached)
    actual, tensors = model(**batch).last_hidden_state, attached.state_dict()
    assert attached.sites == ("layers[0].attention.core", "layers[2].attention.core")
    attached.detach()
    both = (Prefix(length=3, layers=(0,)), Prefix(length=1, layers=(2,)))
    apart = attach(model, Architecture(*both))
    apart.load_state_dict(tensors)
    assert torch.equal(model(**batch).last_hidden_state, actual)
    gated = Architecture(Prefix(length=LENGTHS, gate="unipelt"))
    assert count(gated, describe(model)) == attached.count + 2 * 17


def test_normal_form(build_backbone):
    anatomy = describe(build_backbone("bert"))
    [normal] = canonical(Architecture(Prefix(length=LENGTHS)), anatomy).methods
    assert normal == Prefix(length=ByLayer({0: 3, 2: 1}), layers=(0, 2))
    equal = Prefix(length=ByLayer({0: 2, 2: 2}))
    assert canonical(Architecture(equal), anatomy).methods == (Prefix(length=2, layers=(0, 2)),)
    # where its length is 0 there are no prefix keys that a key bias would differ from
    beside = canonical(
        Architecture(Prefix(length=LENGTHS), BitFit(targets=("key",), layers=(1,))), anatomy
    )
    assert [method.kind for method in beside.methods] == ["prefix"]


def test_one_network_has_one_length(build_backbone):
    method = Prefix(length=LENGTHS, mlp=4)
    with pytest.raises(ValueError, match="take mlp=None, or one length"):
        count(Architecture(method), describe(build_backbone("bert")))


def test_grouped_queries_generate_alike(build_backbone, batch, disturb):
    model = build_backbone("llama")
    attached = attach(model, Architecture(Prefix(length=LENGTHS)))
    disturb(attached)
    ids = batch["input_ids"][:1]
    whole = model(input_ids=ids).last_hidden_state
    first = model(input_ids=ids[:, :4], use_cache=True)
    rest = model(input_ids=ids[:, 4:], past_key_values=first.past_key_values)
    assert_close(rest.last_hidden_state, whole[:, 4:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [None, (0, 2), Subset.of_layers()])
def test_sizes_are_exact(layers, build_backbone):
    method = Prefix(length=PerLayer(Integer(0, 2)), layers=layers, gate=Choice(None, "unipelt"))
    bound = SearchSpace(method).bind(describe(build_backbone("bert")))
    listed, structured = Listing(bound, walks(bound.draw)), Census(bound)
    for budget in (None, 60, 150):
        assert structured.distinct(budget) == listed.distinct(budget)
        assert structured.raw(budget) == listed.raw(budget)
